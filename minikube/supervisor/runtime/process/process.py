"""One started command of the supervisor: its pid, its exit, its signals and its output pipes."""

import logging
import os
import signal

import trio

from minikube.linux import processes
from minikube.linux.cgroup import Group
from minikube.supervisor.runtime.exit_status import Exit

logger = logging.getLogger(__name__)


class Process:
    """A started child process of the supervisor. Only `ProcessTable` creates it. Belongs to the trio thread."""

    def __init__(self, pid: int, stdout: int, stderr: int, owner: str, group: Group | None = None) -> None:
        self.group = group
        self.pid = pid
        self.owner = owner
        self.start_time = processes.start_time(pid)
        self.stdout = stdout
        """A descriptor that does not block, like `stderr`; -1 after `close`."""
        self.stderr = stderr
        self.exited = trio.Event()
        """Set within about a millisecond of the exit; from then on `exit` is known."""
        self.exit: Exit | None = None

    async def wait_exit(self) -> Exit:
        """Wait until `ProcessTable.reap` has reaped the process, and return its exit."""
        await self.exited.wait()
        assert self.exit is not None
        return self.exit

    def set_exit(self, wait_status: int) -> None:
        """Record the exit. Called when the process has been reaped: its pid may belong to another process from now on."""
        status = os.waitstatus_to_exitcode(wait_status)
        out_of_memory = status == -signal.SIGKILL and self.group is not None and self.group.had_oom_kill()
        self.exit = Exit(status, "out of memory, limits.memory" if out_of_memory else "")
        logger.debug("%s: pid %d ended: %s", self.owner, self.pid, self.exit)
        self.exited.set()

    def send_signal(self, number: int) -> bool:
        """Send a signal to the process, not to its children. Return False where it has exited."""
        # Until it has been reaped, no other process gets its pid.
        if self.exit is not None or not processes.send_signal(self.pid, number):
            return False
        logger.debug("%s: sent %s to pid %d", self.owner, Exit(-number), self.pid)
        return True

    def close(self) -> None:
        """Close the output pipes."""
        for descriptor in {self.stdout, self.stderr} - {-1}:
            os.close(descriptor)
        self.stdout = self.stderr = -1
