"""The guardian: signals, and its work after the end of its supervisor."""

import os
import signal
from pathlib import Path

import pytest

from minikube.supervisor.daemon import guardian


def test_a_signal_for_the_guardian_reaches_the_supervisor_and_after_its_end_no_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the guardian cleans up, the pid of the supervisor that it has reaped may be another process'."""
    supervisor = os.fork()
    if supervisor == 0:
        signal.pause()
        os._exit(1)
    forward = guardian._forward_to(supervisor)
    forward(signal.SIGTERM, None)
    assert os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1]) == -signal.SIGTERM
    by_pid: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: by_pid.append(pid))
    forward(signal.SIGTERM, None)
    assert by_pid == []


def test_a_project_directory_that_may_not_be_entered_any_more_does_not_end_the_guardian(
    tmp_path: Path, as_nobody: None
) -> None:
    guardian._remove_containers(tmp_path / ".minikube", -9)
    guardian._remove_groups(tmp_path / ".minikube", "minikube-none")
