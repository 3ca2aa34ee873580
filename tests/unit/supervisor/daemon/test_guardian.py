"""The guardian's handling of signals."""

import os
import signal

import pytest

from minikube.supervisor.daemon.guardian import _forward_to


def test_a_signal_for_the_guardian_reaches_the_supervisor_and_after_its_end_no_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the guardian cleans up, the pid of the supervisor that it has reaped may be another process'."""
    supervisor = os.fork()
    if supervisor == 0:
        signal.pause()
        os._exit(1)
    forward = _forward_to(supervisor)
    forward(signal.SIGTERM, None)
    assert os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1]) == -signal.SIGTERM
    by_pid: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: by_pid.append(pid))
    forward(signal.SIGTERM, None)
    assert by_pid == []
