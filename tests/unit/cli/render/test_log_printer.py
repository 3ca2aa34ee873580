"""Log lines and events as text."""

import io

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
