"""What `up` shows: the dashboard where the terminal can show it, else log lines, and why."""

import sys

import pytest

from minikube.cli.app import run
from minikube.cli.commands.up import UpOptions

OPTIONS = UpOptions((), (), False, False, 60.0, False, False, False, (), (), False, "", False)


@pytest.mark.parametrize(
    ("term", "shown", "message"),
    [
        ("xterm-256color", True, ""),
        ("dumb", False, "minikube: TERM is dumb: log lines are printed instead of the dashboard\n"),
        ("", False, "minikube: TERM is not set: log lines are printed instead of the dashboard\n"),
    ],
)
def test_a_terminal_without_control_sequences_gets_log_lines(
    term: str, shown: bool, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    assert OPTIONS.wants_dashboard() is shown
    assert capsys.readouterr().err == message
    if not shown:
        assert run(["dashboard"]) == 2
        assert message.partition(":")[2].partition(":")[0] in capsys.readouterr().err
