"""The interface of the supervisor for the control API: `ProjectCommands`, implemented in `supervisor.reconcile.commands`.

A name is that of a service, that of an instance (`product-2`), or an instance's id. A method that raises `NotFound` (an unknown
name) or `UsageError` (an invalid request) has changed nothing.
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
    """The number of lines of an instance's output, and how many of them were not written to the disk."""

    service: str
    instance: str
    """Empty for all removed instances of the service together."""
    lines: int
    dropped: int
    file_changes: int = 0
    """How often another program removed, moved, replaced or truncated the log file."""


class MetricsInput(Struct, frozen=True):
    """The supervisor's values for `/metrics` that are not in the state store."""

    registry: RegistryStatus | None = None
    """None if the registry did not answer."""
    logs: tuple[LogCount, ...] = ()


class ProjectCommands(Protocol):
    """The commands on a running project, and the data of the control API that is not in the state store.

    `name` is a service, which means all its instances, or one instance.

    If the caller of an async method is cancelled, its command is completed or undone, never left half done.
    """

    async def start(self, name: str) -> None:
        """Start the instances that are stopped, `fatal` or in backoff. Return when their processes are started."""

    async def stop(self, name: str) -> None:
        """Stop the instances and keep them stopped. Return when none of their processes is alive."""

    async def restart(self, name: str) -> None:
        """Stop the instances, then start them. Raise if an instance cannot be started, or a replica does not get ready."""

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal (a name without SIG) to the instances' processes. The restart policy decides what follows."""

    async def scale(self, name: str, replicas: int) -> None:
        """Set the number of a service's replicas, 0 or more."""

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        """Start (`on`) or end the maintenance of the instances: discovery does not return them. Their processes keep running."""

    async def apply(self, dry_run: bool = False) -> ApplyReply:
        """Read the manifest again and change what differs. Return what was changed, or would be with `dry_run`."""

    def shutdown(self, now: bool = False) -> None:
        """Begin to stop all services in reverse dependency order, or with `now` all at once; then exit. Return immediately."""

    def settings(self, service: str) -> Mapping[str, Any]:
        """Return the keys of a service in the manifest with their values or defaults, without secrets.

        The mapping is empty for a service that is not in the manifest.
        """

    def registered_instances(self) -> Sequence[Instance]:
        """Return the instances in the registry, including those that other programs registered."""

    async def metrics_input(self) -> MetricsInput:
        """Return the input of `/metrics`. Wait at most a second for the registry."""

    async def token_rights(self, token: str) -> Sequence[str]:
        """Return the rights of a token that the registry has made; none for others, and while the registry is away."""

    def logs(self, names: Sequence[str], query: LogQuery) -> AbstractAsyncContextManager[AsyncIterator[list[LogLine]]]:
        """Open the log lines of services, instances, `redis` or `registry` (no name: of all services), in order of time.

        The iterator yields lists of lines that were read together. If the query follows, it also yields new lines. Memory is
        limited: a reader that is too slow misses lines, and gets a line of stream `minikube` with their number instead.
        """

    def has_log(self, name: str) -> bool:
        """Return whether `logs` and `clear_logs` take the name of an instance, which may have been removed meanwhile."""

    async def clear_logs(self, names: Sequence[str]) -> Sequence[str]:
        """Remove the logged lines of services, instances, `redis` or `registry` (no name: of all services).

        Logs that are open go on in new files. Return the names of the instances. Raises Unavailable for a file that cannot be
        removed.
        """
