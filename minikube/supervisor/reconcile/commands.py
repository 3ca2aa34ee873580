"""The commands of the control API, as `control.interface.ProjectCommands` defines them. `control` serves them over HTTP."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from minikube.control.client.messages import ApplyReply
from minikube.control.interface import LogCount, MetricsInput
from minikube.errors import Unavailable
from minikube.logs.file_format import Source
from minikube.logs.query import LogQuery, asked_log
from minikube.manifest.dump import dump_service
from minikube.model import Instance, LogLine
from minikube.project_dir import is_own_log
from minikube.supervisor.reconcile.actions import ServiceActions
from minikube.supervisor.reconcile.reconciler import Reconciler

SETTINGS = ("ports", "user", "group", "health", "restart", "stop", "limits")
"""Keys of the manifest that `minikube describe` shows, in this order."""

STATUS_TIMEOUT_S = 1.0
"""How long a scrape of `/metrics` waits for the registry."""


class Apply(Protocol):
    """The type of `ManifestReconciler.apply`, as the control API calls it."""

    async def __call__(self, dry_run: bool = False) -> ApplyReply: ...


class CommandHandler:
    """Implements `ProjectCommands`, which documents the methods. `apply` is `ManifestReconciler.apply`."""

    def __init__(self, reconciler: Reconciler, actions: ServiceActions, apply: Apply) -> None:
        self._reconciler = reconciler
        self._context = reconciler.context
        self._actions = actions
        self._apply = apply

    # ------------------------------------------------------------ services

    async def start(self, name: str) -> None:
        await self._actions.start(name)

    async def stop(self, name: str) -> None:
        await self._actions.stop(name)

    async def restart(self, name: str) -> None:
        await self._actions.restart(name)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        await self._actions.kill(name, signal)

    async def scale(self, name: str, replicas: int) -> None:
        await self._actions.scale(name, replicas)

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        await self._actions.set_maintenance(name, on, reason)

    # ------------------------------------------------------------ the whole project

    async def apply(self, dry_run: bool = False) -> ApplyReply:
        return await self._apply(dry_run)

    def shutdown(self, now: bool = False) -> None:
        self._context.shutdown(now)

    def settings(self, service: str) -> dict[str, Any]:
        """Return the manifest keys in `SETTINGS` of a service, with defaults and without secrets; empty for other services."""
        spec = self._reconciler.specs.get(service)
        keys = dump_service(spec, defaults=True) if spec else {}
        return {key: keys[key] for key in SETTINGS if keys.get(key)}

    def registered_instances(self) -> Sequence[Instance]:
        """Return all entries of the registry, as last received, also those of other programs."""
        return self._reconciler.registry_sync.entries

    async def token_rights(self, token: str) -> Sequence[str]:
        return await self._reconciler.registry_sync.token_rights(token, STATUS_TIMEOUT_S)

    async def metrics_input(self) -> MetricsInput:
        """Return the registry's status and the log counters for `/metrics`.

        The status is None where the registry does not answer within `STATUS_TIMEOUT_S`.
        """
        collector = self._context.logs
        counts = [
            LogCount(log.service, log.instance, log.lines, log.dropped, log.file_changes)
            for log in collector.logs.values()
        ]
        counts += (LogCount(service, "", totals.lines, totals.dropped) for service, totals in collector.totals.items())
        return MetricsInput(await self._reconciler.registry_sync.status(STATUS_TIMEOUT_S), tuple(counts))

    def logs(self, names: Sequence[str], query: LogQuery) -> AbstractAsyncContextManager[AsyncIterator[list[LogLine]]]:
        """Return a context manager that opens the log lines selected by `query`, of the named services or instances.

        `redis` and `registry` are names too. Without names, the lines are those of all services.
        """
        find = self._source_finder(names)
        return self._context.logs.lines(find, query)

    def has_log(self, name: str) -> bool:
        """Return whether an instance of that name has written a log in this run."""
        return self._log_of(name) in self._context.logs.sources()

    async def clear_logs(self, names: Sequence[str]) -> Sequence[str]:
        """Remove the log files of the named services or instances; see `ProjectCommands.clear_logs`."""
        sources = self._source_finder(names)()
        try:
            await self._context.logs.clear(sources)
        except OSError as error:
            raise Unavailable(
                f"{error.filename}: cannot be removed: {(error.strerror or str(error)).lower()}"
            ) from None
        return sorted(source.instance for source in sources)

    def _log_of(self, name: str) -> str:
        """Return the name of the log that a caller means. A service that was removed is known by its log."""
        return asked_log(name, self._reconciler.specs.keys() | self._context.logs.sources().keys())

    def _source_finder(self, names: Sequence[str]) -> Callable[[], list[Source]]:
        """Return a function that finds the log files of the named services or instances; without names, of all services.

        It is called again while lines are followed: instances may have been added or removed meanwhile.
        """
        collector = self._context.logs
        names = [self._log_of(name) for name in names]
        removed = {name for name in names if name in collector.sources()}
        wanted = removed | {
            controller.name
            for name in names
            if not is_own_log(name) and name not in removed
            for controller in self._actions.find(name)
        }

        def find() -> list[Source]:
            found = collector.sources()
            for controller in self._reconciler.replicas:
                spec = controller.spec
                found[controller.name] = collector.source(spec.name, controller.name, spec.logs)
            if not names:
                return [source for name, source in found.items() if not is_own_log(name)]
            return [
                source for name, source in found.items() if name in wanted or name in names or source.service in names
            ]

        return find
