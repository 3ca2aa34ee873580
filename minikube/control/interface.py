"""What the control API asks of the supervisor (floor 3): a protocol, implemented by the supervisor's core.

A name is a service's, an instance's name (`product-2`) or an instance's id. Unknown names raise `NotFound`, requests
that make no sense raise `UsageError`, and nothing was changed then. It refuses to know how any of it is done.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Struct

from minikube.control.client.messages import ApplyReply
from minikube.logs.query import LogQuery
from minikube.metrics.counters import RegistryStatus
from minikube.model import Instance, LogLine


class LogCount(Struct, frozen=True):
    """Lines of an instance's output: how many were read, and how many of them never reached the disk."""

    service: str
    instance: str
    lines: int
    dropped: int


class MetricsInput(Struct, frozen=True):
    """What the supervisor knows for `/metrics` besides the board. `registry` is None when it does not answer."""

    registry: RegistryStatus | None = None
    logs: tuple[LogCount, ...] = ()


class ProjectCommands(Protocol):
    """The supervisor's hands. The caller of an async method may be cancelled; the act then goes on or is undone,
    never left half done."""

    async def start(self, name: str) -> None:
        """Starts what is stopped, `fatal` or in backoff; returns when the processes are started, not when they pass."""

    async def stop(self, name: str) -> None:
        """Stops and keeps stopped; returns when nothing of it is alive."""

    async def restart(self, name: str) -> None:
        """Stop, then start. Raises when it cannot be started at all, and for replicas when one did not come back."""

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Sends a signal (a name without SIG) to the instances' processes. What follows is the restart policy's."""

    async def scale(self, name: str, replicas: int) -> None:
        """Sets the number of replicas of a service, 0 or more."""

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        """Takes instances out of discovery (or back in) without touching their processes."""

    async def apply(self, dry_run: bool = False) -> ApplyReply:
        """Reads the manifest again and changes only what differs; says what was done, or would be."""

    def shutdown(self, now: bool = False) -> None:
        """Begins to stop everything, in reverse dependency order or (`now`) at once. Returns immediately."""

    def settings(self, service: str) -> Mapping[str, Any]:
        """How a service of the manifest is run, with its defaults and without secrets; nothing for one of someone else's."""

    def registered(self) -> Sequence[Instance]:
        """Everything that the registry is known to have, also what others registered."""

    async def figures(self) -> MetricsInput:
        """For `/metrics`; asks the registry, and waits for it a second at most."""

    def logs(self, names: Sequence[str], query: LogQuery) -> AbstractAsyncContextManager[AsyncIterator[list[LogLine]]]:
        """The wanted lines of the named services, instances or parts (none named: of all services), in order of time,
        those together that were found together; then, if `follow`, what is written from now on. It must be bounded: a
        reader that is behind is told how many lines it missed by a line with stream `minikube`."""
