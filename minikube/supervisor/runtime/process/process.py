"""One started command of the supervisor: its pid, its exit, its signals and its output pipes."""

import logging
import os
import signal
import subprocess

import trio

from minikube.linux import processes
from minikube.linux.cgroup import Group
from minikube.supervisor.runtime.exit_status import Exit

logger = logging.getLogger(__name__)


class Process:
    """A started child process of the supervisor. Only `ProcessTable` creates it. Belongs to the trio thread."""

    def __init__(self, popen: "subprocess.Popen[bytes]", pidfd: int, owner: str, group: Group | None = None) -> None:
        assert popen.stdout is not None
        assert popen.stderr is not None
        self.group = group
        self.pid = popen.pid
        self.owner = owner
        self.start_time = processes.start_time(popen.pid)
        self.stdout = popen.stdout.fileno()
        """A descriptor that does not block, like `stderr`."""
        self.stderr = popen.stderr.fileno()
        os.set_blocking(self.stdout, False)
        os.set_blocking(self.stderr, False)
        self.exited = trio.Event()
        """Set within about a millisecond of the exit; from then on `exit` is known."""
        self.exit: Exit | None = None
        self._popen = popen
        self._pidfd = pidfd

    async def wait_exit(self) -> Exit:
        """Wait until the process has exited, reap it and return its exit. Only one task at a time may wait."""
        while self.exit is None:
            # A pidfd becomes readable at the exit: no polling, and no signal handler that would have to be shared.
            await trio.lowlevel.wait_readable(self._pidfd)
            status = self._popen.poll()
            if status is not None:
                out_of_memory = status == -signal.SIGKILL and self.group is not None and self.group.had_oom_kill()
                self.exit = Exit(status, "out of memory, limits.memory" if out_of_memory else "")
                logger.debug("%s: pid %d ended: %s", self.owner, self.pid, self.exit)
                self.exited.set()
        return self.exit

    def send_signal(self, number: int) -> bool:
        """Send a signal to the process, not to its children. Return False where it has exited."""
        if self.exit is not None or not processes.send_signal(self.pid, number):
            return False
        logger.debug("%s: sent %s to pid %d", self.owner, Exit(-number), self.pid)
        return True

    def close(self) -> None:
        """Close the pidfd and the output pipes."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        for pipe in (self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()
