"""The messages between `up`, the guardian and the supervisor, and the end of their connection that `up` holds.

`LaunchOptions` reach the supervisor through the fork. Everything else goes through a socket pair, a line each:

    up → supervisor    `stop`, `now` (stop immediately), `detach`; the end of the stream without `detach` means `now`
    supervisor → up    `{"ready": …}` or `{"error": …, "exit_code": n}`; later perhaps `{"ended": …}`
    guardian → up      `{"exit": status}`, when no process of the run is alive any more

Standard library only, because the guardian imports it.
"""

import contextlib
import json
import os
import signal
import socket
import time
from typing import Any

from minikube.errors import Unavailable
from minikube.project_dir import SUPERVISOR_LOG_NAME

_MESSAGE_LIMIT = 65_536


class SupervisorHandle:
    """The connection of `up` to the guardian and the supervisor that it has started: to wait, to stop, to detach."""

    def __init__(self, sock: socket.socket, guardian: int) -> None:
        self._sock = sock
        self._guardian = guardian
        self._buffer = b""
        self._exit: int | None = None
        self._is_detached = False
        self.ended: dict[str, Any] | None = None
        """How a service ended the project: `{"why": "web ended: exit 3", "code": 3}`."""

    def fileno(self) -> int:
        """Return the file descriptor of the socket, for `select`: it is readable when a message has arrived."""
        return self._sock.fileno()

    def wait_ready(self, timeout: float) -> dict[str, Any]:
        """Wait until the supervisor is ready or has failed to start; return its message.

        The message is `{"ready": {"control": "host:port", "token": text, "pid": n}}` or `{"error": text, "exit_code": n}`.
        Raises `Unavailable` after `timeout` seconds.
        """
        message = self._receive(timeout)
        if message is None:
            raise Unavailable(f"the supervisor is not ready after {timeout:g} s — see {SUPERVISOR_LOG_NAME}")
        if "exit" in message:  # it is sent once, and `wait_exit` returns it
            self._record_exit(message)
            return {"error": f"the supervisor ended — see {SUPERVISOR_LOG_NAME}", "exit_code": 1}
        return message

    def stop(self) -> None:
        """Request a graceful stop of the project: services stop in reverse order of their dependencies. Return immediately."""
        self._send(b"stop\n")

    def stop_now(self) -> None:
        """Request that all processes of the project are killed. Return immediately."""
        self._send(b"now\n")

    def detach(self) -> None:
        """Tell the supervisor to keep running when `up` exits. Later requests to stop have no effect."""
        self._send(b"detach\n")
        self._is_detached = True

    def close_in_child(self) -> None:
        """Close this process' copy of the connection, in a child of `up`: the end of `up` alone must end the connection."""
        self._sock.close()

    def wait_exit(self, timeout: float) -> int | None:
        """Wait until no process of the run is alive; return the exit code of the supervisor.

        The code is minus the number of the signal where a signal killed it. None after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while self._exit is None:
            message = self._receive(end - time.monotonic())
            if message is None:
                return None
            self.ended = message.get("ended", self.ended)
            if "exit" in message:
                self._record_exit(message)
        return self._exit

    def _send(self, line: bytes) -> None:
        if self._is_detached:
            return
        try:
            self._sock.send(line)
        except OSError:
            return  # the supervisor has ended: wait_exit returns its status

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            # At least 1 ms: a time-out of 0 would mean a socket that does not block.
            self._sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._sock.recv(_MESSAGE_LIMIT)
            except TimeoutError:
                return None
            except OSError:
                data = b""
            if not data:
                return {"exit": -signal.SIGKILL}  # guardian and supervisor were killed together
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _record_exit(self, message: dict[str, Any]) -> None:
        """Keep the exit code, reap the guardian and close the connection."""
        self._exit = int(message["exit"])
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._guardian, 0)
        self._sock.close()


def send_message(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send a message to `up` as JSON. Does nothing where `up` has exited or detached."""
    try:
        sock.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return
