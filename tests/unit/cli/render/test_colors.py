"""When colours are printed, and which colour an instance has."""

import io

import pytest

from minikube.cli.render.colors import INSTANCE_COLOURS, has_colour, instance_colour, paint
from minikube.cli.render.log_printer import LogPrinter
from minikube.model import LogLine
from tests.unit.cli.render.samples import NOW


def test_colours_are_printed_on_a_terminal_unless_the_environment_forbids_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())
    terminal = Terminal()
    LogPrinter(terminal, []).line(LogLine(NOW, "a", "a", "stdout", "x"))
    assert f"\x1b[{instance_colour('a')}m" in terminal.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())


def test_an_instance_always_has_the_same_colour() -> None:
    assert instance_colour("product") == instance_colour("product")
    assert {instance_colour(f"x-{number}") for number in range(100)} == set(INSTANCE_COLOURS)
    assert paint("x", 31, False) == "x"
    assert paint("x", None, True) == "x"
