"""The logs of a run: followers that end when they should, and logs that are forgotten with their instances."""

import os
import threading
import time
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from minikube.logs.collector import LogCollector
from minikube.logs.file_format import Source
from minikube.logs.follower import LogFollower
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.manifest import LogSpec
from tests.eventually import soon
from tests.unit.logs.log_of import capture_in, reader_of


def open_files(directory: Path) -> list[str]:
    """Return the names of the files in a directory that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
        if path.parent == directory:
            found.append(path.name)
    return sorted(found)


async def kept(collector: LogCollector, query: LogQuery) -> list[str]:
    async with collector.lines(lambda: list(collector.sources().values()), query) as batches:
        return [line.line async for batch in batches for line in batch]


async def test_a_follower_with_an_end_ends_although_nothing_is_written(tmp_path: Path) -> None:
    """What is written until then is still shown, also if no write wakes the follower."""
    collector = LogCollector(tmp_path)
    log = collector.open("a", "a", LogSpec())
    log.feed("stdout", b"first\n")
    until = time.time() + 0.3
    with trio.fail_after(10):
        async with collector.lines(
            lambda: [collector.source("a", "a", LogSpec())], LogQuery(follow=True, until=until)
        ) as batches:
            lines = []
            async for batch in batches:
                lines += [line.line for line in batch]
                if lines == ["first"]:
                    log.feed("stdout", b"second\n")
    assert lines == ["first", "second"]
    assert until <= time.time()
    collector.writer.close(10.0)


async def test_forgotten_logs_close_their_files_and_can_be_read(tmp_path: Path) -> None:
    """As after `scale web=60`, then `web=1`; counts are kept for the service, and a follower goes on with a new instance."""
    collector = LogCollector(tmp_path)
    names = [f"web-{number}" for number in range(1, 61)]
    for name in names:
        collector.open("web", name, LogSpec()).feed("stdout", f"of {name}\n".encode())
    await soon(lambda: open_files(tmp_path) == sorted(f"{name}.log" for name in names))
    seen: list[str] = []

    async def watch() -> None:
        def sources() -> list[Source]:
            return [source for name, source in collector.sources().items() if name == "web-2"]

        async with collector.lines(sources, LogQuery(follow=True)) as batches:
            async for batch in batches:
                seen.extend(line.line for line in batch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await soon(lambda: seen == ["of web-2"])
        for name in names[1:]:
            collector.logs[name].feed("stdout", b"last\n")
            collector.forget(name)
        await soon(lambda: seen == ["of web-2", "last"])
        await soon(lambda: set(open_files(tmp_path)) <= {"web-1.log", "web-2.log"}, what="only the follower's is open")
        assert list(collector.logs) == ["web-1"]
        assert collector.totals["web"] == (118, 0)
        collector.open("web", "web-2", LogSpec()).feed("stdout", b"again\n")
        await soon(lambda: seen == ["of web-2", "last", "again"])
        nursery.cancel_scope.cancel()
    assert len(await kept(collector, LogQuery(tail=ALL_LINES))) == 60 + 59 + 1
    collector.forget("unknown")
    collector.writer.close(10.0)


async def test_logs_are_cleared_after_what_was_read_before_and_others_are_kept(tmp_path: Path) -> None:
    collector = LogCollector(tmp_path)
    for name in ("a", "b", "gone"):
        log = collector.open(name, name, LogSpec())
        log.feed("stdout", f"of {name}\nhalf".encode())
        log.show_partial("stdout")
    collector.forget("gone")
    seen: list[str] = []

    async def watch() -> None:
        async with collector.lines(lambda: list(collector.sources().values()), LogQuery(follow=True)) as batches:
            async for batch in batches:
                seen.extend(line.line for line in batch if not line.partial)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await soon(lambda: len(seen) == 3)
        await collector.clear([collector.sources()["a"], collector.sources()["gone"]])
        assert [line for line in await kept(collector, LogQuery()) if line != "half"] == ["of b"]
        assert not (tmp_path / "gone.log").exists()
        collector.logs["a"].feed("stdout", b" line\n")
        await soon(lambda: seen[3:] == ["half line"])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    collector.writer.close(10.0)


async def test_clearing_logs_on_a_disk_that_hangs_is_an_error_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minikube.logs.collector.CLEAR_TIMEOUT_S", 0.05)
    collector = LogCollector(tmp_path)
    log = collector.open("a", "a", LogSpec())
    answers = threading.Event()
    collector.writer.call(log, answers.wait)
    log.feed("stdout", b"before\n")
    with trio.fail_after(10), pytest.raises(OSError, match="the disk does not answer yet"):
        await collector.clear([collector.sources()["a"]])
    answers.set()
    log.feed("stdout", b"after\n")
    collector.writer.close(10.0)
    assert log.path.read_bytes().endswith(b"stdout after\n")
    assert b"before" not in log.path.read_bytes()


def test_a_follower_that_is_closed_while_a_read_ends_closes_its_files(tmp_path: Path) -> None:
    log = capture_in(tmp_path)
    log.feed("stdout", b"one\n")
    log.file.close()
    follower = LogFollower(lambda _: log.file, LogQuery(follow=True))

    class ClosedMeanwhile:
        """A lock that is still held when another thread calls `close`."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            thread = threading.Thread(target=follower.close)
            thread.start()
            thread.join()
            self.lock.release()

        def acquire(self, *, blocking: bool) -> bool:
            return self.lock.acquire(blocking=blocking)

        def release(self) -> None:
            self.lock.release()

    list(follower.backlog([reader_of(log).source]))
    assert open_files(tmp_path) == ["a.log"]
    follower._lock = ClosedMeanwhile()  # type: ignore[assignment]
    follower.new_lines([reader_of(log).source])
    assert open_files(tmp_path) == []
