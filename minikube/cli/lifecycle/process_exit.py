"""Waiting for the end of a process that is not a child of this one, and exit codes in words."""

from __future__ import annotations

import contextlib
import os
import select
import signal


class ProcessExitWait:
    """Waits for the exit of a process that is no child, through a pidfd. Create it before the process is requested to end."""

    # A pidfd stays bound to its process: when the kernel reuses the pid, this does not wait for the wrong one.

    def __init__(self, pid: int) -> None:
        """`pid` 0: no process, as for a guardian whose pid is not known."""
        self._pidfd: int | None = None
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                self._pidfd = os.pidfd_open(pid)

    def __enter__(self) -> ProcessExitWait:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the exit of the process; return whether it has exited."""
        if self._pidfd is None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


def describe_exit(code: int) -> str:
    """Return `exit 3` for the exit code 3, and `signal KILL` for -9."""
    if code >= 0:
        return f"exit {code}"
    try:
        return f"signal {signal.Signals(-code).name.removeprefix('SIG')}"
    except ValueError:  # a real-time signal between the two that have names
        return f"signal {-code}"
