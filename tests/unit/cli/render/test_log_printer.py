"""Log lines and events as text."""

import io
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from msgspec import structs

from minikube.cli.render.log_printer import LogPrinter, format_time
from minikube.model import Event, LogLine
from tests.unit.cli.render.samples import NOW


def test_log_lines_have_aligned_prefixes_and_escapes_are_made_visible() -> None:
    out = io.StringIO()
    printer = LogPrinter(out, ["product", "order"])
    printer.line(LogLine(NOW, "order", "order", "stdout", "\x1b[32mready\x1b[0m\ton \x1b[2J"))
    printer.line(LogLine(NOW, "product", "product-12", "stderr", "x"))
    printer.event(Event(1, NOW, "check.passing", "order passes\n"))
    printer.message("stopped")
    assert out.getvalue() == (
        "order    | ready\ton \\x1b[2J\nproduct-12 | x\nminikube   | order passes\\x0a\nminikube   | stopped\n"
    )


def test_log_lines_with_times_and_without_names() -> None:
    out = io.StringIO()
    printer = LogPrinter(out, [], timestamps=True, prefix=False)
    printer.line(LogLine(1.25, "a", "a", "stdout", "x"))
    printer.event(Event(1, 1.25, "k", "m"))
    assert out.getvalue() == f"{format_time(1.25)} x\n{format_time(1.25)} m\n"
    assert format_time(1.25).endswith(":01.250")


def _partial(text: str, *, instance: str = "a", partial: bool = True) -> LogLine:
    line = LogLine(NOW, instance, instance, "stdout", text)
    return structs.replace(line, partial=True) if partial else line


def test_an_incomplete_line_is_completed_in_place_or_printed_again_after_others() -> None:
    out = io.StringIO()
    printer = LogPrinter(out, ["a"])
    printer.line(_partial("Pass"))
    assert out.getvalue() == "a        | Pass"
    printer.line(_partial("Password: "))
    printer.line(_partial("Password: x", partial=False))
    printer.line(_partial("ready> "))
    printer.line(_partial("other", instance="b", partial=False))
    printer.line(_partial("ready> go", partial=False))
    printer.line(_partial("half"))
    printer.event(Event(1, NOW, "k", "event"))
    printer.line(_partial("half"))
    printer.end_line()
    printer.end_line()
    assert out.getvalue().splitlines() == [
        "a        | Password: x",
        "a        | ready> ",
        "b        | other",
        "a        | ready> go",
        "a        | half",
        "minikube | event",
        "a        | half",
    ]


def test_a_progress_bar_is_one_line_of_a_file_and_is_drawn_in_place_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    printer = LogPrinter(out, ["a"])
    for number in range(1, 4):
        printer.line(_partial("\r".join(f"{n}0%" for n in range(1, number + 1)) + "\r"))
    printer.line(_partial("10%\r20%\r30%", partial=False))
    assert out.getvalue() == "a        | 10%\na        | 30%\n"
    monkeypatch.setattr("minikube.cli.render.log_printer.has_colour", lambda _: True)
    out = io.StringIO()
    printer = LogPrinter(out, ["a"])
    for text in ("10%\r", "10%\r20%\r"):
        printer.line(_partial(text))
    assert out.getvalue().count("\r\x1b[K") == 1
    assert "\n" not in out.getvalue()


class _ThreadSwitchingStream(io.StringIO):
    """A text stream that lets other threads run in the middle of a write."""

    def write(self, text: str) -> int:
        for character in text:
            super().write(character)
            time.sleep(0)
        return len(text)


def test_lines_of_several_threads_stay_whole() -> None:
    out = _ThreadSwitchingStream()
    printer = LogPrinter(out, ["web"])
    line, event = LogLine(NOW, "web", "web", "stdout", "x" * 40), Event(1, NOW, "k", "y" * 40)

    def repeat(write: Callable[[], None]) -> None:
        for _ in range(20):
            write()

    writes: tuple[Callable[[], None], ...] = (partial(printer.line, line), partial(printer.event, event))
    threads = [threading.Thread(target=repeat, args=(write,)) for write in writes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(out.getvalue().splitlines()) == {f"web      | {'x' * 40}", f"minikube | {'y' * 40}"}
