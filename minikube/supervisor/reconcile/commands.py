"""The hands of the control API (floor 3): what people and programs ask for, by name, done to the runners.

It refuses to serve HTTP (`control.api` does) and to know how an instance is started or stopped (`instance` does).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import trio

from minikube.control.client.messages import ApplyReply
from minikube.control.interface import LogCount, MetricsInput
from minikube.errors import NotFound, UsageError
from minikube.logs.file_format import Source
from minikube.logs.query import LogQuery
from minikube.manifest.dump import dump_service
from minikube.model import Instance, LogLine, ProcessState
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.rollout import (
    RolloutFailed,
    Rollouts,
    check_replicas,
    restart_alone,
    see_begin,
    see_well,
)
from minikube.supervisor.runtime.process.process import signal_number

PARTS = ("redis", "registry")

SETTINGS = ("user", "group", "health", "restart", "stop", "limits")
"""Keys of the manifest that `describe` tells, in this order."""

STATUS_TIMEOUT_S = 1.0
"""How long a scrape waits for the registry."""

BEGUN_S = 30.0
"""How long a start waits for what it started to be under way."""


class Applier(Protocol):
    """See `supervisor.apply`, which builds on this module."""

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> ApplyReply: ...


class CommandHandler:
    """Implements `control.Controls`. Roll-outs go on in `nursery`, whether who asked for one waits or not."""

    def __init__(self, core: Reconciler, nursery: trio.Nursery) -> None:
        self.applier: Applier | None = None
        """What carries out an edited manifest; None before the services' time."""
        self._core = core
        self.board = core.board
        self.rollouts = Rollouts(core, nursery)

    # ------------------------------------------------------------ start and stop

    async def start(self, name: str) -> None:
        self._refuse_the_end()
        runners = self._find(name)
        for runner in (*self._core.also_needed(runners), *runners):
            runner.start()
        with trio.move_on_after(BEGUN_S):
            await self.board.wait_for(lambda _: all(one.life.state is not ProcessState.STOPPED for one in runners))
        await see_begin(runners, self.board, "cannot be started")

    async def stop(self, name: str) -> None:
        await self._core.stop_in_time(self._core.roster.alive(name) or self._find(name))

    async def restart(self, name: str) -> None:
        self._refuse_the_end()
        runners = self._find(name)
        for runner in self._core.also_needed(runners):
            runner.start()
        for runner in runners:  # one that was stopped takes nothing away by coming back
            if not runner.wish.runs and len(runners) > 1 and not self._core.missing(runner.spec):
                runner.start()
        await self.renew(runners)
        if len(runners) == 1:
            await see_well(runners[0], self.board)

    async def renew(self, runners: Sequence[InstanceController]) -> None:
        """New processes for these of one service. Raises `RolloutFailed`: before anything is stopped for what could not start again."""
        if runners and (missing := self._core.missing(runners[0].spec)):
            name = runners[0].name if len(runners) == 1 else runners[0].spec.name
            raise RolloutFailed(f"{name}: was not restarted, it could not start again: {missing}")
        if len(runners) == 1:
            await restart_alone(runners[0], self.board)
        elif runners:
            await self.rollouts.restart(runners)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        try:
            number = signal_number(signal)
        except ValueError as error:
            raise UsageError(str(error)) from None
        found = self._core.roster.alive(name) or self._find(name)
        alive = [runner.process for runner in found if runner.process is not None]
        if not alive:
            raise UsageError(f"{name}: no process is running — start it with `minikube start {name}`")
        for process in alive:
            await process.send(number)

    async def scale(self, name: str, replicas: int) -> None:
        self._refuse_the_end()
        core = self._core
        if name not in core.specs or name not in core.roster:
            raise NotFound(f"{name}: no such service")
        check_replicas(core.specs[name], replicas, core.specs)
        await core.wait_gone(core.resize(name, replicas))
        with trio.move_on_after(BEGUN_S):
            await self.board.wait_for(
                lambda _: all(
                    one.life.state is not ProcessState.STOPPED or not one.wish.runs for one in core.roster.of(name)
                )
            )

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        link = self._core.link
        known = [runner for runner in self._find(name) if link.known(runner.id)]
        if not known:
            raise UsageError(f"{name}: is not registered at the moment, so nobody finds it anyway — see `minikube ps`")
        for runner in known:
            await link.maintain(runner.id, on, reason)

    # ------------------------------------------------------------ the whole project

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> ApplyReply:
        if self.applier is None:
            raise UsageError("the project is starting or stopping; nothing was changed")
        return await self.applier.apply(dry_run, refuse_empty=refuse_empty)

    def shutdown(self, now: bool = False) -> None:
        self._core.site.shutdown(now)

    def settings(self, service: str) -> dict[str, Any]:
        spec = self._core.specs.get(service)
        keys = dump_service(spec, defaults=True) if spec else {}
        return {key: keys[key] for key in SETTINGS if keys.get(key)}

    def registered_instances(self) -> Sequence[Instance]:
        return self._core.link.instances

    async def metrics_input(self) -> MetricsInput:
        captures = self._core.site.logbook.logs.values()
        lines = tuple(LogCount(one.service, one.instance, one.lines, one.dropped) for one in captures)
        return MetricsInput(await self._core.link.status(STATUS_TIMEOUT_S), lines)

    def logs(self, names: Sequence[str], query: LogQuery) -> AbstractAsyncContextManager[AsyncIterator[list[LogLine]]]:
        wanted = {runner.name for name in names if name not in PARTS for runner in self._find(name)}
        book = self._core.site.logbook

        def sources() -> list[Source]:
            known = {one.instance: one for one in book.logs.values()}
            found = {name: book.source(one.service, name, one.spec) for name, one in known.items()}
            for one in self._core.roster:
                found[one.name] = book.source(one.spec.name, one.name, one.spec.logs)
            if not names:
                return [one for name, one in found.items() if name not in PARTS]
            return [one for name, one in found.items() if name in wanted or name in names or one.service in names]

        return book.lines(sources, query)

    # ------------------------------------------------------------ inside

    def _find(self, name: str) -> list[InstanceController]:
        roster = self._core.roster
        if (found := roster.find(name)) or name in roster:
            return found
        if self.board.service(name) is not None:
            raise UsageError(f"{name}: was registered by someone else, the supervisor has no hand in it")
        raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")

    def _refuse_the_end(self) -> None:
        if self._core.asked_to_stop.is_set():
            raise UsageError("the project is stopping; nothing was started")
