"""The end of an append-only file after a power cut: what is moved away, what is left to Redis, what only a user can decide."""

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.errors import StartError
from minikube.supervisor.backing.redis_data import find_end, last_warnings, mend_tail, recovery_advice
from minikube.supervisor.backing.redis_program import Writer, record_writer

COMMANDS = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n"
INCREMENT = "appendonly.aof.2.incr.aof"
MANIFEST = f"""file appendonly.aof.1.base.rdb seq 1 type b
file appendonly.aof.1.incr.aof seq 1 type i
file {INCREMENT} seq 2 type i
"""


def write_data(project_dir: Path, content: bytes) -> Path:
    """Write an append-only file whose newest part has this content; return that part's path."""
    directory = project_dir / "redis" / "appendonlydir"
    directory.mkdir(parents=True)
    (directory / "appendonly.aof.manifest").write_text(MANIFEST)
    path = directory / INCREMENT
    path.write_bytes(content)
    return path


def command(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=3), max_size=5), st.integers(min_value=0))
def test_the_end_is_that_of_the_last_complete_command(commands: list[list[bytes]], cut: int) -> None:
    parts = [command(words) for words in commands]
    whole = b"".join(parts)
    assert find_end(whole) == len(whole)
    assert find_end(whole + b"\0" * 64) == len(whole)
    kept = whole[: cut % (len(whole) + 1)]
    ends = [sum(map(len, parts[:count])) for count in range(len(parts) + 1)]
    assert find_end(kept) == max(end for end in ends if end <= len(kept))


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\0", b"garbage", COMMANDS[:-5] + b"\0\0", b"*1\r\n$4\r\nPI\0\0"])
def test_what_is_no_command_at_the_end_is_moved_to_a_file(tmp_path: Path, tail: bytes) -> None:
    path = write_data(tmp_path, COMMANDS + tail)
    message = mend_tail(tmp_path)
    content = path.read_bytes()
    assert content.startswith(COMMANDS)
    (kept,) = (tmp_path / "redis").glob(f"{INCREMENT}.tail-*")
    assert content + kept.read_bytes() == COMMANDS + tail, "nothing is lost"
    assert message == (
        f"redis: the last {kept.stat().st_size} bytes of {INCREMENT} were no commands, as after a power cut:"
        f" moved to .minikube/redis/{kept.name}"
    )
    assert mend_tail(tmp_path) == ""


def test_each_of_two_repairs_in_one_second_keeps_its_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20261128-120000")
    path = write_data(tmp_path, b"")
    for tail in (b"first", b"second"):
        path.write_bytes(COMMANDS + tail)
        assert mend_tail(tmp_path)
    assert sorted(kept.read_bytes() for kept in (tmp_path / "redis").glob(f"{INCREMENT}.tail-*")) == [
        b"first",
        b"second",
    ]


@pytest.mark.parametrize(
    "content", [b"", COMMANDS, COMMANDS + b"\0" * 10 + COMMANDS + b"\0", COMMANDS + b"x" + COMMANDS]
)
def test_a_whole_file_and_one_with_damage_before_commands_are_left_alone(tmp_path: Path, content: bytes) -> None:
    path = write_data(tmp_path, content)
    assert mend_tail(tmp_path) == ""
    assert path.read_bytes() == content


def test_a_project_without_data_or_with_a_manifest_that_leads_elsewhere_is_left_alone(tmp_path: Path) -> None:
    assert mend_tail(tmp_path) == ""
    path = write_data(tmp_path, COMMANDS)
    (tmp_path / "mine").write_bytes(b"mine")
    (path.parent / "appendonly.aof.manifest").write_text("file ../../mine seq 1 type i\n")
    assert mend_tail(tmp_path) == ""
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_full_disk_keeps_the_file_as_it_is(small_disk: Path) -> None:
    content = COMMANDS + b"\0" * 400_000
    path = write_data(small_disk, content)
    with open(small_disk / "ballast", "wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)
    with pytest.raises(StartError, match=f"redis: cannot mend {INCREMENT}: No space left on device"):
        mend_tail(small_disk)
    assert path.read_bytes() == content


LOG = (
    "27496:M 28 Nov 2026 07:21:08.853 # WARNING Memory overcommit must be enabled!",
    "27496:M 28 Nov 2026 07:21:08.886 * monotonic clock: X86 TSC @ 2300.14 ticks/us",
    "27496:M 28 Nov 2026 07:21:08.887 # Bad file format reading the append only file x.aof: make a backup",
    "27496:M 28 Nov 2026 07:21:08.888 # Valkey is now ready to exit, bye bye...",
)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (LOG, "Bad file format reading the append only file x.aof: make a backup"),
        (LOG[:2], "monotonic clock: X86 TSC @ 2300.14 ticks/us"),
        (("redis-server: error while loading shared libraries",), "redis-server: error while loading shared libraries"),
        ((), ""),
    ],
)
def test_the_last_words_are_the_last_warning(lines: tuple[str, ...], words: str) -> None:
    assert last_warnings(lines) == words


def test_the_way_out_names_the_program_that_wrote_the_data(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    assert recovery_advice(tmp_path, "/bin/true") == "", "there are no data"
    record_writer(tmp_path, Writer("/bin/true", "valkey 9.1.2"))
    without = "start without the data: mv .minikube/redis .minikube/redis.old"
    assert recovery_advice(tmp_path, "/bin/true") == without
    assert recovery_advice(tmp_path, "/bin/false") == (
        f"valkey 9.1.2 (/bin/true) wrote the data: set MINIKUBE_REDIS_SERVER=/bin/true; or {without}"
    )
    record_writer(tmp_path, Writer("/gone/redis", "redis 7.0.15"))
    assert recovery_advice(tmp_path, "/bin/false") == (
        f"redis 7.0.15 (/gone/redis) wrote the data: install it and set MINIKUBE_REDIS_SERVER; or {without}"
    )
    assert os.listdir(tmp_path / "redis") == ["written-by.json"]
