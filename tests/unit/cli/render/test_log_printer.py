"""Log lines and events as text."""

import io
import threading
import time
from collections.abc import Callable
from functools import partial

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
