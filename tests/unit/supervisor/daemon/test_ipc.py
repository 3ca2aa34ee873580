"""What `up` is told by the supervisor and its guardian."""

import json
import os
import signal
import socket

import pytest

from minikube.supervisor.daemon.ipc import SupervisorHandle

CHILD_OF_ANOTHER = os.getppid()


@pytest.mark.parametrize(("sent", "code"), [({"exit": 0}, 0), ({"exit": 3}, 3), (None, -signal.SIGKILL)])
def test_an_end_before_the_supervisor_is_ready_is_known_to_both_waits(sent: dict[str, int] | None, code: int) -> None:
    """The exit code is sent once. Without one, the guardian was killed as well."""
    here, there = socket.socketpair()
    handle = SupervisorHandle(here, CHILD_OF_ANOTHER)
    with there:
        if sent is not None:
            there.sendall(json.dumps(sent).encode() + b"\n")
    assert "the supervisor ended" in handle.wait_ready(5.0)["error"]
    assert handle.wait_exit(5.0) == code
