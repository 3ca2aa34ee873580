"""What differs between the backing services: when a process is ready, whether it works, and why it has ended.

`service` keeps the processes of such a program running. It refuses to start or end a process.
"""

from abc import ABC, abstractmethod

import trio

from minikube.supervisor.backing.spec import BackingSpec
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.process.process import Process


class RestartNeeded(Exception):
    """Raised by `ping`: only a new process can serve again. The text says why; it follows the name of the service."""


class BackingProgram(ABC):
    """The program of one backing service. By default it is not pinged, needs no files and explains no exit."""

    is_pinged = False
    """Whether `ping` is called while a process is ready."""

    @abstractmethod
    async def wait_ready(self, process: Process) -> str:
        """Wait until `process` answers; return the service's address. Called for each process."""

    async def ping(self, process: Process) -> str:
        """Return why a process that was ready does not work, in one line; empty: it works. Raises `RestartNeeded`."""
        await trio.lowlevel.checkpoint()
        return ""

    async def prepare(self) -> None:
        """Make the files that a process needs. Called before each start but the first. Raises `StartError`."""
        await trio.lowlevel.checkpoint()

    def explain(self, lines: tuple[str, ...]) -> tuple[str, str]:
        """Return why a process ended before it was ready, and what a user can do about it; empty texts where neither is known.

        `lines` are the last of its log.
        """
        return "", ""

    def relocate(self, relocation: Relocation) -> None:
        """Use the new place of the project directory, which was moved. By default nothing depends on it."""
        return

    def next_spec(self, spec: BackingSpec, address: str) -> BackingSpec:
        """Return the spec of the next process, where the present one has `spec` and answers at `address`."""
        return spec
