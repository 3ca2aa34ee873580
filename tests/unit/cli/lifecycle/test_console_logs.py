"""What `up` prints of the services: all of it, in order, and what it leaves out it counts."""

import io
import threading
from pathlib import Path

from minikube.cli.render.console_logs import ConsoleLogs
from minikube.cli.render.log_printer import LogPrinter
from tests.eventually import eventually


def stamped(text: str, second: int = 1) -> str:
    return f"2026-11-24T00:00:{second:02}.000000Z stdout {text}\n"


SINCE = 1795478400.0
"""2026-11-24T00:00:00Z"""


def follow(directory: Path, out: io.StringIO) -> ConsoleLogs:
    return ConsoleLogs(directory, SINCE, LogPrinter(out, ["a"]), lambda: None)


def test_what_is_written_is_shown_by_time_across_rotations_and_of_new_instances(tmp_path: Path) -> None:
    out = io.StringIO()
    log = tmp_path / "a.log"
    log.write_text("2026-11-23T00:00:00.000000Z stdout of an earlier run\n" + stamped("one"))
    (tmp_path / "redis.log").write_text(stamped("a part"))
    follower = follow(tmp_path, out)
    follower.start()
    eventually(lambda: "one" in out.getvalue(), 5, "the first line")
    with log.open("a") as file:
        file.write(stamped("two"))
    log.rename(tmp_path / "a.log.1")
    log.write_text(stamped("three", 3))
    (tmp_path / "b-2.log").write_text(stamped("new", 2))
    eventually(lambda: "three" in out.getvalue() and "new" in out.getvalue(), 5, "the last lines")
    with log.open("a") as file:
        file.write(stamped("the last word", 4))
    assert follower.finish(5, lambda: False) == 0
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("a ")] == [
        f"a        | {text}" for text in ("one", "two", "three", "the last word")
    ]
    assert [line for line in lines if line[:2] != "a "] == ["b-2      | new"]


def test_a_flood_is_shown_to_its_end(tmp_path: Path) -> None:
    out = io.StringIO()
    (tmp_path / "a.log").write_text("".join(stamped(str(number)) for number in range(30_000)))
    follower = follow(tmp_path, out)
    follower.start()
    assert follower.finish(30, lambda: False) == 0
    assert out.getvalue().splitlines() == [f"a        | {number}" for number in range(30_000)]


class Slow(io.StringIO):
    """A reader that takes a block, and then no more for as long as the test lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Event()
        self.over = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.taken.set()
        self.over.wait(30)
        return count


def test_who_is_in_a_hurry_leaves_the_rest_and_is_told_how_much(tmp_path: Path) -> None:
    (tmp_path / "a.log.1").write_text("".join(stamped(str(number)) for number in range(20_000)))
    (tmp_path / "a.log").write_text("".join(stamped(str(number)) for number in range(10_000)))
    out = Slow()
    follower = follow(tmp_path, out)
    follower.start()
    assert out.taken.wait(10)
    left = follower.finish(30, lambda: True)
    out.over.set()
    shown = out.getvalue().count("\n")
    assert 0 < shown < 30_000
    assert shown + left == 30_000
