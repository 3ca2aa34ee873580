"""What passes between the front and what it started (floor 3, standard library only: the guardian uses it too).

`LaunchOptions` go along with the fork. Then, on a socket pair: down go `stop`, `now` and `detach`, a line each; the
front's end without `detach` means `now`. Up goes JSON, a line each: `{"ready": …}` or `{"error": …, "exit_code": n}` (and
`{"ended": …}`) from the supervisor, `{"exit": status}` from the guardian when nothing is left alive.
"""

import json
import os
import signal
import socket
import time
from typing import Any

from minikube.errors import Unavailable

_MESSAGE_LIMIT = 65_536


class Lifeline:
    """The front's end. Every wait is bounded by its caller."""

    def __init__(self, sock: socket.socket, guardian: int) -> None:
        self._sock = sock
        self._guardian = guardian
        self._buffer = b""
        self._exit: int | None = None
        self.ended: dict[str, Any] | None = None
        """How the service of `exit_with` ended: `{"service": …, "how": "exit 3", "code": 3}`."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def wait_ready(self, timeout: float) -> dict[str, Any]:
        """`{"ready": …}` or `{"error": …, "exit_code": n}`. Raises `Unavailable` when neither comes in time."""
        message = self._next(timeout)
        if message is None:
            raise Unavailable(f"the supervisor said nothing for {timeout:g} s — see .minikube/logs/supervisor.log")
        if "exit" in message:
            return {"error": "the supervisor ended — see .minikube/logs/supervisor.log", "exit_code": 1}
        return message

    def stop(self) -> None:
        """Asks for a graceful stop, in reverse dependency order."""
        self._send(b"stop\n")

    def stop_now(self) -> None:
        """Asks for an end at once."""
        self._send(b"now\n")

    def detach(self) -> None:
        """From now on the front's end means nothing; nothing more can be asked or heard here."""
        self._send(b"detach\n")
        self._sock.close()

    def wait_exit(self, timeout: float) -> int | None:
        """The supervisor's exit status (minus the signal's number), once nothing is alive; None when time is up."""
        end = time.monotonic() + timeout
        while self._exit is None:
            message = self._next(end - time.monotonic())
            if message is None:
                return None
            self.ended = message.get("ended", self.ended)
            if "exit" in message:
                self._exit = int(message["exit"])
                self._reap()
                self._sock.close()
        return self._exit

    def _send(self, line: bytes) -> None:
        try:
            self._sock.send(line)
        except OSError:
            return  # it is gone already: wait_exit tells

    def _next(self, timeout: float) -> dict[str, Any] | None:
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
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
        found: dict[str, Any] = json.loads(line)
        return found

    def _reap(self) -> None:
        try:
            os.waitpid(self._guardian, 0)
        except ChildProcessError:
            return


def say(sock: socket.socket, message: dict[str, Any]) -> None:
    """A line up; nobody may be there any more."""
    try:
        sock.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return
