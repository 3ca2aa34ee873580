"""The log lines that `up` prints: all lines, in order of time; lines that are skipped are counted."""

import io
import threading
from pathlib import Path

from minikube.cli.lifecycle.console_logs import ConsoleLogs
from minikube.cli.render.log_printer import LogPrinter
from tests.eventually import eventually


def stamped(text: str, second: int = 1) -> str:
    return f"2026-11-24T00:00:{second:02}.000000Z stdout {text}\n"


SINCE = 1795478400.0
"""2026-11-24T00:00:00Z"""


def make_console_logs(directory: Path, out: io.StringIO) -> ConsoleLogs:
    return ConsoleLogs(directory, SINCE, LogPrinter(out, ["a"]), lambda: None)


def test_lines_are_printed_by_time_across_rotations_and_for_new_instances(tmp_path: Path) -> None:
    out = io.StringIO()
    log = tmp_path / "a.log"
    log.write_text("2026-11-23T00:00:00.000000Z stdout of an earlier run\n" + stamped("one"))
    (tmp_path / "minikube.redis.log").write_text(stamped("a part"))
    (tmp_path / "redis.log").write_text(stamped("a service"))
    logs = make_console_logs(tmp_path, out)
    logs.start()
    eventually(lambda: "one" in out.getvalue(), 5, "the first line")
    with log.open("a") as file:
        file.write(stamped("two"))
    log.rename(tmp_path / "a.log.1")
    log.write_text(stamped("three", 3))
    (tmp_path / "b-2.log").write_text(stamped("new", 2))
    eventually(lambda: "three" in out.getvalue() and "new" in out.getvalue(), 5, "the last lines")
    with log.open("a") as file:
        file.write(stamped("the last word", 4))
    assert logs.finish(5, lambda: False) == 0
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("a ")] == [
        f"a        | {text}" for text in ("one", "two", "three", "the last word")
    ]
    assert [line for line in lines if line[:2] != "a "] == ["redis    | a service", "b-2      | new"]


def test_all_lines_of_a_flood_are_printed(tmp_path: Path) -> None:
    out = io.StringIO()
    (tmp_path / "a.log").write_text("".join(stamped(str(number)) for number in range(30_000)))
    logs = make_console_logs(tmp_path, out)
    logs.start()
    assert logs.finish(30, lambda: False) == 0
    assert out.getvalue().splitlines() == [f"a        | {number}" for number in range(30_000)]


class BlockedOutput(io.StringIO):
    """Takes a block of text, then blocks until `over` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Event()
        self.over = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.taken.set()
        self.over.wait(30)
        return count


def test_lines_that_are_skipped_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.log.1").write_text("".join(stamped(str(number)) for number in range(20_000)))
    (tmp_path / "a.log").write_text("".join(stamped(str(number)) for number in range(10_000)))
    out = BlockedOutput()
    logs = make_console_logs(tmp_path, out)
    logs.start()
    assert out.taken.wait(10)
    left = logs.finish(30, lambda: True)
    out.over.set()
    shown = out.getvalue().count("\n")
    assert 0 < shown < 30_000
    assert shown + left == 30_000
