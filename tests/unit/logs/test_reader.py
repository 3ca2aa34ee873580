"""Logs on disk and read back: rotation, tails, times, and the number of lines that a late reader has missed."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube.errors import UsageError
from minikube.logs.blocks import BLOCK
from minikube.logs.file_format import encode_lines, kept_sources, parse_line, rotated, written_at
from minikube.logs.filter import LogFilter
from minikube.logs.instance_log import LINE_LIMIT, PENDING_LIMIT, InstanceLog
from minikube.logs.merged import read_backlog, read_new
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.logs.writing.writer import LogWriter
from minikube.manifest import LogSpec
from minikube.model import LogLine
from tests.eventually import eventually
from tests.unit.logs.log_of import Directly, capture_in, read, reader_of


@pytest.mark.parametrize("already", [0, 700])
def test_no_file_grows_past_its_size_whatever_comes_at_once(tmp_path: Path, already: int) -> None:
    spec = LogSpec(max_size=4_000, keep=50)
    log = capture_in(tmp_path, spec=spec)
    if already:
        log.write(b"x" * already + b"\n")
    lines = [f"{number} {'y' * (number % 90)}" for number in range(1_000)]
    log.write("".join(f"{line}\n" for line in lines).encode())
    files = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_ino)
    assert max(path.stat().st_size for path in files) <= 4_000
    assert len(files) <= 15, "and they are filled"
    assert log.file.written == 1_000 + bool(already)
    kept = [rotated(log.path, number) for number in reversed(range(len(files)))]
    assert "".join(path.read_text() for path in kept).splitlines()[bool(already) :] == lines
    log.write(b"z" * 9_000 + b"\n")
    assert log.path.read_bytes() == b"z" * 9_000 + b"\n", "a line is never cut for it"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, settable."""
    now = [1_795_500_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.mark.parametrize("style", ["plain", "json"])
def test_a_line_comes_back_as_it_was_written(tmp_path: Path, style: str, clock: list[float]) -> None:
    raw = encode_lines("stderr", "käse \t| 1\n\n".encode(), style)
    first, second = (parse_line(line, "s", "s-1") for line in raw.splitlines())
    assert first == LogLine(clock[0], "s", "s-1", "stderr", "käse \t| 1")
    assert second is not None
    assert second.line == ""
    assert written_at(raw) == clock[0]


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{}", b'{"time":1}', b"no stamp", b"2026-11-24T00:16:00.123456Z", b"\x00\xff" * 20),
        b'{"time":"2026","stream":"stdout","line":"another program\'s"}',
    ],
)
def test_what_is_no_line_of_ours_is_left_out(raw: bytes) -> None:
    assert parse_line(raw, "s", "s") is None
    assert written_at(raw) in (0.0, written_at(b"2026-11-24T00:16:00.123456Z"))


@settings(max_examples=60, deadline=None)
@given(
    writes=st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=12), min_size=1, max_size=25),
    keep=st.integers(0, 3),
    looks=st.sets(st.integers(0, 25)),
    style=st.sampled_from(["plain", "json"]),
)
def test_a_follower_gets_every_line_once_in_order_or_the_number_of_lines_it_missed(
    writes: list[list[int]], keep: int, looks: set[int], style: str
) -> None:
    """Files of 1 KiB, written and rotated while one reader looks now and then."""
    with TemporaryDirectory() as place:
        log = capture_in(Path(place), spec=LogSpec(1024, keep, "json" if style == "json" else "plain"))
        reader, log_filter = reader_of(log), LogFilter(LogQuery())
        list(read_backlog([reader], LogQuery(follow=True), log_filter))
        reader.follow()
        written, missed, seen = 0, 0, []

        def look() -> None:
            nonlocal missed
            while (lines := read_new([reader], log_filter)) is not None:
                for line in lines:
                    if line.stream == "minikube":
                        missed += int(line.line.split()[0])
                    else:
                        seen.append(int(line.line.split()[0]))

        for number, lengths in enumerate(writes):
            text = b""
            for length in lengths:
                text += b"%d %s\n" % (written, b"x" * length)
                written += 1
            log.feed("stdout", text)
            if number in looks:
                look()
        look()
        reader.close()
        assert seen == sorted(set(seen))
        assert len(seen) + missed == written
        assert seen[-1:] == [written - 1]


def test_what_fast_rotation_costs_a_reader_is_counted_exactly_where_it_is_missing(tmp_path: Path) -> None:
    """The writer rotates the files in a thread of its own, several thousand times, while the reader reads."""
    writer = LogWriter(lambda: None)
    log = InstanceLog("a", "a", tmp_path / "a.log", writer, LogSpec(256, 2))
    reader, log_filter = reader_of(log), LogFilter(LogQuery())
    reader.open()
    reader.follow()
    lines: list[LogLine] = []
    for number in range(0, 20_000, 20):
        log.feed("stdout", b"".join(b"%d\n" % n for n in range(number, number + 20)))
        # How many lines are missed depends on which thread runs. Now and then 40 lines come at once, and are all on disk
        # before the reader looks: its own file and the three that are kept hold 24 of them at most.
        if number % 1_000 == 0:
            continue
        if number % 1_000 == 20:
            eventually(lambda: log.pending == 0, what="all lines are written")
        lines += read_new([reader], log_filter) or ()
    writer.close(10.0)
    while found := read_new([reader], log_filter):
        lines += found
    reader.close()
    expected = gaps = 0
    for line in lines:
        number = int(line.line.split()[0])
        if line.stream == "minikube":
            expected += number
            gaps += 1
        else:
            assert number == expected
            expected += 1
    assert expected == 20_000
    assert gaps >= 20


def test_a_tail_reaches_back_over_rotated_files_and_over_instances_by_time(tmp_path: Path, clock: list[float]) -> None:
    one, two = (capture_in(tmp_path, name, LogSpec(2048, 9)) for name in "ab")
    for number in range(300):
        clock[0] += 1
        (one if number % 3 else two).feed("stdout", b"line %d %s\n" % (number, b"." * 40))
    assert len(list(tmp_path.iterdir())) > 8
    for tail in (0, 1, 7, 100):
        lines = read([reader_of(one), reader_of(two)], LogQuery(tail=tail))
        assert [line.split()[1] for line in lines] == [str(n) for n in range(300 - tail, 300)]
    everything = read([reader_of(one), reader_of(two)], LogQuery(tail=ALL_LINES))
    assert len(everything) == 300
    assert [line.split()[1] for line in everything] == sorted((line.split()[1] for line in everything), key=int)


@pytest.mark.parametrize("size", [3_000, 10_000_000])
def test_since_and_until_cut_exactly(tmp_path: Path, clock: list[float], size: int) -> None:
    log = capture_in(tmp_path, spec=LogSpec(size, 1000, max_age=0.0))
    start = clock[0]
    for number in range(2_000):
        clock[0] = start + number
        log.feed("stdout", b"%d %s\n" % (number, b"x" * 150))
    assert size > 3_000 or len(list(tmp_path.iterdir())) > 50
    assert log.path.stat().st_size > 2 * BLOCK or size < 10_000
    for tail in (ALL_LINES, 100_000):
        query = LogQuery(tail=tail, since=start + 700, until=start + 1_500)
        assert [int(line.split()[0]) for line in read([reader_of(log)], query)] == list(range(700, 1_500))
    assert len(read([reader_of(log)], LogQuery(tail=5, since=start + 1_990))) == 5


def test_level_and_pattern_narrow_what_is_shown_and_what_is_counted(tmp_path: Path) -> None:
    log = capture_in(tmp_path)
    for number in range(50):
        log.feed("stdout", b'INFO ok %d\n{"level":"warn","msg":"slow %d"}\n' % (number, number))
    log.feed("stderr", b"Traceback (most recent call last):\n  File x\nValueError: y\nafterwards\n")
    warnings = read([reader_of(log)], LogQuery(tail=5, level="warn"))
    assert warnings == [
        *(f'{{"level":"warn","msg":"slow {n}"}}' for n in (47, 48, 49)),
        "Traceback (most recent call last):",
        "  File x",
        "ValueError: y",
    ]
    assert read([reader_of(log)], LogQuery(tail=ALL_LINES, grep="^slow 4[0-2]$")) == [
        f'{{"level":"warn","msg":"slow {n}"}}' for n in (40, 41, 42)
    ]
    assert read([reader_of(log)], LogQuery(tail=2, grep="ok .*9")) == ["INFO ok 39", "INFO ok 49"]


def test_a_pattern_is_refused_with_the_reason_and_never_takes_long() -> None:
    for wrong in ("(", "(?=x)", "[z-a]", "x" * 1001):
        with pytest.raises(UsageError, match="grep"):
            LogFilter(LogQuery(grep=wrong))
    with pytest.raises(UsageError, match="level: expected a level"):
        LogFilter(LogQuery(level="loud"))
    started = time.process_time()
    assert not LogFilter(LogQuery(grep="(a+)+$")).selects(LogLine(1.0, "s", "s", "stdout", "a" * LINE_LIMIT + "b"))
    assert time.process_time() - started < 1.0  # a backtracking engine would not end before the sun does


# ---------------------------------------------------------------- capturing


def test_a_secret_is_masked_wherever_reads_and_lines_are_cut(tmp_path: Path) -> None:
    log = capture_in(tmp_path, secrets=["hunter22", "-----BEGIN\nMIIEpAIBAAKCAQ\n-----END"])
    log.feed("stdout", b"password is hun")
    log.feed("stdout", b"ter22 indeed\n")
    log.feed("stdout", b"MIIEpAIBAAKCAQ\n")
    for split in (3, 8):
        line = b"x" * (LINE_LIMIT - split) + b"hunter22" + b"y" * LINE_LIMIT
        for at in range(0, len(line), 9_973):
            log.feed("stdout", line[at : at + 9_973])
        log.feed("stdout", b"\n")
    text = log.path.read_text()
    assert "password is *** indeed" in text
    assert "hunter22" not in "".join(line.split(" ", 2)[2] for line in text.splitlines())
    assert "MIIE" not in text
    assert all("hunter" not in line for line in log.last_lines)


def test_what_a_helper_prints_stands_between_whole_lines_and_is_masked(tmp_path: Path) -> None:
    log = capture_in(tmp_path, secrets=["hunter22"])
    log.feed("stdout", b"half a ")
    log.insert("drained\nas hunter22")
    log.feed("stdout", b"line\n")
    assert read([reader_of(log)], LogQuery(tail=ALL_LINES)) == ["drained", "as ***", "half a line"]


def test_a_line_of_ten_megabytes_is_kept_in_pieces(tmp_path: Path) -> None:
    log = capture_in(tmp_path, spec=LogSpec(1 << 30))
    for _ in range(160):
        log.feed("stdout", b"z" * 65_000)
    log.feed("stdout", b"\nnext\n")
    lines = read([reader_of(log)], LogQuery(tail=ALL_LINES))
    assert sum(map(len, lines[:-1])) == 160 * 65_000
    assert max(map(len, lines)) == LINE_LIMIT
    assert lines[-1] == "next"
    assert read([reader_of(log)], LogQuery(tail=2))[-1] == "next"


def test_garbage_empty_lines_and_a_last_line_without_an_end_are_lines(tmp_path: Path) -> None:
    log = capture_in(tmp_path)
    log.feed("stdout", bytes(range(256)) + b"\n\n\r\n10%\r20%\r\nhalf")
    log.feed("stderr", b"\xff\xfe")
    log.finish("stdout")
    log.finish("stderr")
    log.finish("stderr")
    lines = read([reader_of(log)], LogQuery(tail=ALL_LINES))
    assert lines[1:] == [
        "\x0b\x0c\r" + "".join(map(chr, range(14, 128))) + "\ufffd" * 128,
        "",
        "",
        "10%\r20%",
        "half",
        "\ufffd\ufffd",
    ]


def test_a_disk_that_is_too_slow_drops_lines_and_reports_how_many(tmp_path: Path) -> None:
    notices: list[str] = []
    writer = Directly(stuck=True)
    log = capture_in(tmp_path, writer=writer, notice=lambda _, event, text: notices.append(text))
    chunk = b"".join(b"%05d %s\n" % (n, b"x" * 90) for n in range(10_000))
    while log.pending <= PENDING_LIMIT:
        log.feed("stdout", chunk)
    kept = len(writer.waiting) * 10_000
    log.feed("stdout", chunk)
    log.feed("stdout", chunk)
    assert log.dropped == 20_000
    writer.stuck = False
    writer.flush()
    log.feed("stdout", b"again\n")
    lines = read([reader_of(log)], LogQuery(tail=ALL_LINES))
    assert len(lines) == kept + 2
    assert lines[-2:] == ["20000 lines dropped: the disk was too slow", "again"]
    assert [text.split(":")[1] for text in notices] == [
        " output is not kept",
        " output is kept again; 20000 lines dropped",
    ]


@pytest.mark.parametrize("style", ["plain", "json"])
def test_the_notice_of_dropped_lines_is_not_later_than_the_line_after_it(
    tmp_path: Path, style: Literal["plain", "json"], clock: list[float]
) -> None:
    """Readers sort lines by time, so that a later notice would be shown after lines that came after the gap."""
    writer = Directly()
    log = capture_in(tmp_path / "logs", spec=LogSpec(format=style), writer=writer)
    (tmp_path / "logs").write_text("no directory")
    log.feed("stdout", b"lost\n")
    (tmp_path / "logs").unlink()
    log._retry = 0.0
    writer.stuck = True
    log.feed("stdout", b"kept\n")
    clock[0] += 1
    writer.stuck = False
    writer.flush()
    notice, kept = (parse_line(raw, "a", "a") for raw in log.path.read_bytes().splitlines())
    assert notice is not None
    assert kept is not None
    assert (notice.line, kept.line) == ("1 line dropped: Not a directory", "kept")
    assert notice.time <= kept.time


def test_old_files_go_and_a_quiet_log_is_rotated_by_age(tmp_path: Path, clock: list[float]) -> None:
    log = capture_in(tmp_path, spec=LogSpec(keep=2, max_age=300.0))
    log.feed("stdout", b"first\n")
    clock[0] += 90
    log.feed("stdout", b"second\n")
    assert not rotated(log.path, 1).exists()
    clock[0] += 20
    log.expire(clock[0])
    assert b"first" in rotated(log.path, 1).read_bytes()
    assert log.path.read_bytes() == b""
    clock[0] += 200
    log.feed("stdout", b"third\n")
    os.utime(rotated(log.path, 1), (clock[0] - 301, clock[0] - 301))
    log.expire(clock[0])
    assert not rotated(log.path, 1).exists()
    assert b"third" in log.path.read_bytes()


def test_a_restarted_supervisor_goes_on_with_the_file_and_its_age(tmp_path: Path, clock: list[float]) -> None:
    spec = LogSpec(keep=2, max_age=300.0)
    capture_in(tmp_path, spec=spec).feed("stdout", b"first\n")
    with (tmp_path / "a.log").open("ab") as file:
        file.write(b"cut by a full d")
    clock[0] += 50
    capture_in(tmp_path, spec=spec).feed("stdout", b"second\n")
    again = capture_in(tmp_path, spec=spec)
    clock[0] += 60
    again.feed("stdout", b"third\n")
    assert b"second" in rotated(again.path, 1).read_bytes()
    assert read([reader_of(again)], LogQuery(tail=ALL_LINES)) == ["first", "second", "third"]


def test_kept_files_are_found_by_the_manifest_s_names(tmp_path: Path) -> None:
    for name in (
        "web-1.log",
        "web-2.log.3",
        "web-10.log",
        "api-2.log",
        "minikube.supervisor.log",
        "notes.txt",
        "gone-x.log.1",
    ):
        (tmp_path / name).touch()
    found = kept_sources(tmp_path, ["web", "api-2", "api"])
    assert [(one.service, one.instance, one.keep) for one in found] == [
        ("api-2", "api-2", 0),
        ("gone-x", "gone-x", 1),
        ("web", "web-1", 0),
        ("web", "web-10", 0),
        ("web", "web-2", 3),
    ]
    assert kept_sources(tmp_path / "nowhere", []) == []
