"""Lines that wait for their newline: shown after a moment, masked, and completed in place."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from minikube.logs.collector import LogCollector
from minikube.logs.follower import LogFollower
from minikube.logs.instance_log import LINE_LIMIT, PARTIAL_LIMIT, InstanceLog
from minikube.logs.partial_line import partial_path
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.manifest import LogSpec
from minikube.model import LogLine
from tests.eventually import soon
from tests.unit.logs.log_of import Directly, capture_in, read, reader_of

Found = list[tuple[str, bool]]


def new_lines(follower: LogFollower, log: InstanceLog) -> Found:
    """Return what a follower has not got yet: texts, and whether they are incomplete."""
    found: Found = []
    while lines := follower.new_lines([reader_of(log).source]):
        found += ((line.line, bool(line.partial)) for line in lines)
    return found


def follow(log: InstanceLog, query: LogQuery | None = None, *, live: bool = True) -> LogFollower:
    follower = LogFollower(lambda _: log.file if live else None, query or LogQuery(follow=True))
    list(follower.backlog([reader_of(log).source]))
    return follower


@pytest.mark.parametrize("live", [True, False], ids=["own reader", "reader of another process"])
@pytest.mark.parametrize("style", ["plain", "json"])
def test_an_incomplete_line_is_shown_and_then_completed(tmp_path: Path, live: bool, style: str) -> None:
    log = capture_in(tmp_path, spec=LogSpec(format="json" if style == "json" else "plain"))
    follower = follow(log, live=live)
    log.feed("stdout", b"before\nPass")
    assert new_lines(follower, log) == [("before", False)]
    log.show_partial("stdout")
    assert new_lines(follower, log) == [("Pass", True)]
    assert new_lines(follower, log) == []
    log.feed("stdout", b"word: \xc3")
    log.show_partial("stdout")
    assert new_lines(follower, log) == [("Password: ", True)], "half a character is not shown"
    log.feed("stderr", b"other\n")
    assert new_lines(follower, log) == [("other", False)]
    log.feed("stdout", b"\xa4\nnext\n")
    assert new_lines(follower, log) == [("Password: \xe4", False), ("next", False)]
    assert not partial_path(log.path).exists()
    follower.close()
    assert read([reader_of(log)], LogQuery(tail=ALL_LINES)) == ["before", "other", "Password: \xe4", "next"]


def test_each_stream_has_its_incomplete_line_and_the_end_of_the_output_completes_it(tmp_path: Path) -> None:
    log = capture_in(tmp_path)
    follower = follow(log)
    log.feed("stdout", b"half out")
    log.feed("stderr", b"half err")
    log.show_partial("stdout")
    assert new_lines(follower, log) == [("half out", True)]
    log.show_partial("stderr")
    assert new_lines(follower, log) == [("half err", True)]
    log.finish("stdout")
    assert new_lines(follower, log) == [("half out", False)]
    log.finish("stderr")
    assert new_lines(follower, log) == [("half err", False)]
    follower.close()


def test_the_query_of_a_follower_holds_for_incomplete_lines(tmp_path: Path) -> None:
    log = capture_in(tmp_path)
    followers = [
        follow(log, LogQuery(follow=True, grep="ready")),
        follow(log, LogQuery(follow=True, level="error")),
        follow(log, LogQuery(follow=True, until=time.time() - 5)),
    ]
    log.feed("stdout", b"ERROR: not ")
    log.show_partial("stdout")
    assert [new_lines(follower, log) for follower in followers] == [[], [("ERROR: not ", True)], []]
    log.feed("stdout", b"ready")
    log.show_partial("stdout")
    assert [new_lines(one, log) for one in followers[:2]] == [[("ERROR: not ready", True)]] * 2
    for follower in followers:
        follower.close()


def test_an_incomplete_line_is_taken_back_before_its_line_is_written(tmp_path: Path) -> None:
    """A reader that looks between both would show it again after the whole line."""
    steps: list[str] = []

    class Noting(Directly):
        def put(self, log: InstanceLog, data: bytes) -> None:
            steps.append("write")

        def call(self, log: InstanceLog, work: Callable[[], object], size: int = 0) -> None:
            steps.append("show")

    log = capture_in(tmp_path, writer=Noting())
    log.feed("stdout", b"half")
    log.show_partial("stdout")
    log.feed("stdout", b" and half\n")
    log.feed("stderr", b"half")
    log.show_partial("stderr")
    log.finish("stderr")
    assert steps == ["show", "show", "write"] * 2


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_secret_is_masked_in_an_incomplete_line_and_its_completion(tmp_path: Path, cut: int) -> None:
    """Also in colours, and where the line is cut because it is long."""
    log = capture_in(tmp_path, secrets=["hunter22"])
    follower = follow(log)
    log.feed("stdout", b"is \x1b[1m" + b"hunter22"[:cut])
    log.show_partial("stdout")
    [(text, _)] = new_lines(follower, log)
    assert text == ("is \x1b[1m***" if cut == 8 else "is \x1b[1m")
    log.feed("stdout", b"\x1b[31m" + b"hunter22"[cut:] + b" indeed")
    log.show_partial("stdout")
    [(text, _)] = new_lines(follower, log)
    assert text.replace("\x1b[31m", "") == "is \x1b[1m*** indeed"
    log.feed("stdout", b"x" * (LINE_LIMIT - 40 - cut) + b"hunter22" * 8)
    log.show_partial("stdout")
    log.feed("stdout", b"\n")
    new_lines(follower, log)
    follower.close()
    assert b"hunter" not in log.path.read_bytes()
    assert b"er22" not in log.path.read_bytes()


@pytest.mark.parametrize("begun", range(1, 8))
def test_a_line_that_is_cut_because_it_is_long_is_not_cut_inside_a_secret(tmp_path: Path, begun: int) -> None:
    log = capture_in(tmp_path, secrets=["hunter22"])
    log.feed("stdout", b"x" * (2 * LINE_LIMIT - begun) + b"hunter22"[:begun])
    log.feed("stdout", b"hunter22"[begun:] + b"\n")
    lines = read([reader_of(log)], LogQuery(tail=ALL_LINES))
    assert "".join(lines) == "x" * (2 * LINE_LIMIT - begun) + "***"


def test_output_that_may_always_go_on_as_a_secret_is_held_back_in_bounded_memory(tmp_path: Path) -> None:
    log = capture_in(tmp_path, secrets=["ababa"])
    for _ in range(10):
        log.feed("stdout", b"ab" * 16_384)
        assert len(log._partial["stdout"]) <= PARTIAL_LIMIT + 2 * 16_384
    log.feed("stdout", b"\nnext\n")
    assert b"ababa" not in log.path.read_bytes()
    assert read([reader_of(log)], LogQuery(tail=1)) == ["next"]


def test_the_incomplete_line_of_a_killed_supervisor_is_kept_by_the_next(tmp_path: Path) -> None:
    """Until then, readers show it as what it is."""
    log = capture_in(tmp_path)
    log.feed("stdout", b"whole\nhalf")
    log.show_partial("stdout")
    again = capture_in(tmp_path)
    follower = LogFollower(lambda _: None, LogQuery())
    found = [(line.line, bool(line.partial)) for batch in follower.backlog([reader_of(log).source]) for line in batch]
    follower.close()
    assert found == [("whole", False), ("half", True)]
    again.feed("stdout", b"next\n")
    assert read([reader_of(again)], LogQuery(tail=ALL_LINES)) == ["whole", "half", "next"]
    assert not partial_path(log.path).exists()


@pytest.mark.parametrize(
    "obstruct",
    [lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/full"), lambda path: os.mkfifo(path)],
    ids=["directory", "link", "fifo"],
)
def test_an_incomplete_line_that_cannot_be_shown_is_kept_all_the_same(
    tmp_path: Path, obstruct: Callable[[Path], object]
) -> None:
    """Something stands where its file has to be: the line itself is not lost, and nothing waits."""
    (tmp_path / "a.log.partial").mkdir()
    obstruct(tmp_path / "a.log.partial.new")
    log = capture_in(tmp_path)
    log.feed("stdout", b"half")
    log.show_partial("stdout")
    log.feed("stdout", b" and the rest\n")
    assert read([reader_of(log)], LogQuery(tail=ALL_LINES)) == ["half and the rest"]


@pytest.mark.parametrize(
    ("output", "pattern"),
    [
        (b"ready in \x1b[1m300\x1b[0m ms\n", r"ready in \d+ ms$"),
        (b"ready in \x1b[1m300\x1b[0m ms\n", r"\x1b\[1m300"),
        (b"first\nListening on 3000", "^Listening on"),
    ],
)
def test_an_awaited_line_is_found_as_it_is_shown(output: bytes, pattern: str, tmp_path: Path) -> None:
    log, found = capture_in(tmp_path), [0]
    log.expect(pattern, lambda: found.append(1))
    log.feed("stdout", output)
    log.show_partial("stdout")
    assert found == [0, 1]


async def test_output_is_shown_after_a_moment_of_silence_and_while_it_never_ends(tmp_path: Path) -> None:
    """A prompt, and a progress bar that overwrites its line again and again."""
    seen: list[LogLine] = []
    collector = LogCollector(tmp_path)
    log = collector.open("a", "a", LogSpec())
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)

    async def watch() -> None:
        source = collector.source("a", "a", LogSpec())
        async with collector.lines(lambda: [source], LogQuery(follow=True)) as batches:
            async for batch in batches:
                seen.extend(batch)

    def texts() -> list[tuple[str, bool]]:
        return [(line.line, bool(line.partial)) for line in seen]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(log.read, read_end, "stdout")
        os.write(write_end, b"one\nPassword: ")
        await soon(lambda: texts() == [("one", False), ("Password: ", True)])
        os.write(write_end, b"x\n")
        await soon(lambda: texts()[2:] == [("Password: x", False)])
        number = 0
        while not texts()[3:]:
            number += 1
            os.write(write_end, b"%d%%\r" % number)
            await trio.sleep(0.001)
        os.close(write_end)
        await soon(lambda: texts()[-1][0].endswith(f"\r{number}%") and not texts()[-1][1])
        nursery.cancel_scope.cancel()
    os.close(read_end)
    collector.writer.close(10.0)


async def test_incomplete_lines_fill_no_memory_while_the_disk_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A progress bar goes on for hours meanwhile. Afterwards, its last state is shown."""
    limit = 100_000
    monkeypatch.setattr("minikube.logs.instance_log.PENDING_LIMIT", limit)
    monkeypatch.setattr("minikube.logs.instance_log.PARTIAL_S", 0.001)
    monkeypatch.setattr("minikube.logs.instance_log.MAX_BLOCK_S", 0.0)
    collector = LogCollector(tmp_path)
    log = collector.open("a", "a", LogSpec())
    answers = threading.Event()
    collector.writer.call(log, answers.wait)
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.read, read_end, "stdout")
        os.write(write_end, b"x" * 20_000)
        while log.pending <= limit:
            os.write(write_end, b".")
            await trio.sleep(0.001)
        for _ in range(50):
            os.write(write_end, b".")
            await trio.sleep(0.001)
        assert collector.writer.pending == log.pending <= limit + 21_000
        os.write(write_end, b"last")
        answers.set()
        await soon(lambda: partial_path(log.path).exists() and b"last" in partial_path(log.path).read_bytes())
        os.close(write_end)
    os.close(read_end)
    collector.writer.close(10.0)
    assert log.pending == collector.writer.pending == 0
