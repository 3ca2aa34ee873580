"""The supervisor's core (floor 3): the nursery tree, and the hands of the control API.

    Supervisor.run
      ├─ redis part ── registry part ── link to the registry
      ├─ one Runner a replica
      └─ sampler, reaper of orphans

Services stop before what they depend on; the registry and Redis last. It refuses to serve HTTP: `main` does that with the
board and this as `Controls`.

Longer than most files: what is asked of it comes from five sides (runners, registry, control API, apply, the end), a few lines
each.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import trio
from msgspec import structs

from minikube.client.messages import ApplyReply, LogQuery
from minikube.control.board import Board
from minikube.control.controls import Figures, LogCount
from minikube.errors import NotFound, UsageError
from minikube.manifest import Manifest, ServiceSpec
from minikube.model import Instance, LogLine, ProcessState, Registration, ServiceView
from minikube.probe.prober import Prober
from minikube.supervisor import dependency, graph, leftovers
from minikube.supervisor.beginning import Beginning
from minikube.supervisor.containers import ContainerRuntime
from minikube.supervisor.dependency import ACTIVE
from minikube.supervisor.engine import Left
from minikube.supervisor.environment import project_environment
from minikube.supervisor.guardian import LaunchOptions
from minikube.supervisor.hearsay import Hearsay
from minikube.supervisor.instance import Runner, instance_id
from minikube.supervisor.lifecycle import Life
from minikube.supervisor.link import LEAVE_S, Link
from minikube.supervisor.local import ProcessRuntime
from minikube.supervisor.logfile import Source
from minikube.supervisor.logs import Capture
from minikube.supervisor.process import KILL_PATIENCE_S, Household, signal_number
from minikube.supervisor.reader import LogBook
from minikube.supervisor.rollout import Rollouts, check_replicas, restart_alone
from minikube.supervisor.runtime import Runtime
from minikube.supervisor.selection import chosen
from minikube.text import mask_url

PARTS = ("redis", "registry")

RECORD_S = 0.01
"""A hundred starts, each with a record of all, took longer than the starts. What is missed meanwhile has the mark."""

STATUS_TIMEOUT_S = 1.0
"""How long a scrape waits for the registry."""


class Applier(Protocol):
    """See `supervisor.apply`, which builds on this module."""

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> ApplyReply: ...


class Supervisor:
    """Implements `control.Controls` and what `instance.Home` asks for. Belongs to the trio thread."""

    def __init__(
        self,
        manifest: Manifest,
        options: LaunchOptions,
        state: os.PathLike[str],
        board: Board,
        household: Household,
        logs: LogBook,
    ) -> None:
        self.manifest = manifest
        self.options = options
        self.board = board
        self.household = household
        self._processes = ProcessRuntime(household, self.environment, self._warn)
        self._containers = ContainerRuntime(
            household,
            manifest,
            Path(state),
            lambda: (self.registry, self.redis_url),
            lambda text, level: board.event("containers.engine", text, level),
            options.unbuilt,
        )
        self.prober = Prober()
        self.logbook = logs
        logs.notice = self._log_notice
        self.redis_url = ""
        self.registry = str(manifest.registry.listen)
        self.asked_to_stop = trio.Event()
        self.now = False
        self.ending = False
        self.left: Left | None = None
        """What an engine still has at the end."""
        self._state = state
        self._link: Link | None = None
        self._nursery: trio.Nursery | None = None
        self._recording = False
        self.specs: dict[str, ServiceSpec] = self.prepared(manifest)
        self._chosen = chosen(manifest.services, options.only, options.profiles)
        self._runners: dict[str, list[Runner]] = {}
        self._by_id: dict[str, Runner] = {}
        """Those that are still leaving, too."""
        self._all: set[Runner] = set()
        """The same, and one that is still leaving while the next one of its id waits for its end."""
        self.hearsay = Hearsay(board, self._by_id)
        self._warned: set[tuple[str, str]] = set()
        self._rollouts = Rollouts(board)
        self._next_runs: dict[str, float] = {}
        self.adopted = trio.Event()
        """Set when another manifest is adopted; then there is a new one."""
        self.applier: Applier | None = None
        """What carries out an edited manifest; None before and after the services' time."""

    # ------------------------------------------------------------ life

    async def run(self, nursery: trio.Nursery, link: Link) -> None:
        """Starts every instance; returns at once, the tasks belong to `nursery`."""
        self._nursery, self._link = nursery, link
        self._containers.open(nursery)
        for name in graph.start_order({name: tuple(spec.depends_on) for name, spec in self.specs.items()}):
            self.open_service(self.specs[name])
        await trio.lowlevel.checkpoint()

    def open_service(self, spec: ServiceSpec) -> None:
        self._runners[spec.name] = []
        self._show(spec, spec.replicas)
        for index in range(1, spec.replicas + 1):
            self._add(spec, index)

    def _show(self, spec: ServiceSpec, replicas: int) -> None:
        command = " ".join(mask_url(part) for part in (spec.image, *spec.command) if part)
        needs: dict[str, str] = dict(spec.depends_on)
        is_chosen = spec.name in self._chosen
        self.board.put_services(
            ServiceView(
                spec.name, spec.runtime, command, replicas, spec.register, needs, spec.tags, spec.schedule, is_chosen
            )
        )

    def _add(self, spec: ServiceSpec, index: int) -> None:
        assert self._nursery is not None
        runner = Runner(self, spec, index, instance_id(str(self.manifest.directory), spec.name, index))
        runner.wanted = spec.name in self._chosen and not self.asked_to_stop.is_set()
        if spec.schedule:
            runner.wanted, runner.resting = False, not runner.wanted
        self._runners[spec.name].append(runner)
        if self._link is not None:
            self._link.absent(runner.id)
        runner.publish()
        self._all.add(runner)
        previous, self._by_id[runner.id] = self._by_id.get(runner.id), runner
        self._nursery.start_soon(self._run, runner, previous)

    async def _run(self, runner: Runner, previous: Runner | None) -> None:
        if previous is not None:  # it was scaled away a moment ago: two of one id would end each other's processes
            await previous.finished.wait()
        await runner.run()
        self._all.discard(runner)
        if self._by_id.get(runner.id) is runner:
            del self._by_id[runner.id]
            self.board.drop_instances(runner.id)

    def prepared(self, manifest: Manifest) -> dict[str, ServiceSpec]:
        """The manifest's services as this `up` runs them: one whose end is awaited is not started again and again."""
        name, specs = self.options.exit_with, dict(manifest.services)
        if name in specs and specs[name].restart.policy == "always":
            never = structs.replace(specs[name].restart, policy="never")
            specs[name] = structs.replace(specs[name], restart=never)
        return specs

    async def wait_ended(self, name: str) -> list[Life]:
        """How every instance of a service ended, once each has for good."""
        ended = (ProcessState.EXITED, ProcessState.FATAL)
        runners = self._runners[name]
        await self.board.wait_for(lambda _: bool(runners) and all(one.life.state in ended for one in runners))
        return [one.life for one in runners]

    async def stop_all(self) -> None:
        """Everything, in reverse dependency order; returns when nothing of any service is alive.

        An apply may be under way: a service that it has not opened yet has no runner, one that it closes is in no manifest.
        """
        self.ending = True
        self.board.set_phase("stopping")
        dependencies = {name: tuple(spec.depends_on) for name, spec in self.specs.items()}
        members = {name: self.runners(name) for name in dependencies}
        leaving = self._all.difference(*members.values())
        stopped = {name: trio.Event() for name in dependencies}

        async def stop_service(name: str) -> None:
            for dependent in graph.dependents(dependencies, name):
                await stopped[dependent].wait()
            await self._stop_runners(members[name])
            stopped[name].set()

        patience = {name: max(map(_patience, runners), default=0.0) for name, runners in members.items()}
        longest, _ = graph.longest_stop(dependencies, patience)
        longest = max([longest, *map(_patience, leaving)]) + KILL_PATIENCE_S
        async with trio.open_nursery() as watching:
            watching.start_soon(self._containers.watch)
            with trio.move_on_after(longest) as bound:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._stop_runners, list(leaving))
                    for name in dependencies:
                        nursery.start_soon(stop_service, name)
            if bound.cancelled_caught:
                left = [(one.name, one.process.holders()) for one in self._all if one.process is not None]
                who = "; ".join(f"{name}: {', '.join(holders)}" for name, holders in sorted(left))
                self.board.event("supervisor.stuck", f"gave up waiting after {longest:.0f} s: {who}", "error")
            self.left = await self._containers.close()
            watching.cancel_scope.cancel()
        if self.left:
            self.board.event("containers.left", str(self.left), "error")

    async def _stop_runners(self, runners: Sequence[Runner]) -> None:
        for runner in runners:
            runner.stop(now=self.now)
        for runner in runners:
            await self.board.wait_for(lambda _, one=runner: is_down(one))  # type: ignore[misc]
            await runner.wait_drained()

    # ------------------------------------------------------------ what runners ask

    async def rebuild(self, name: str) -> None:
        """Builds the service's image again, where it has one to build; what runs is not touched. Raises `StartError`."""
        spec, runners = self.specs[name], self.runners(name)
        output = self.logbook.captures.get(runners[0].name) if runners else None
        if spec.runtime == "container" and spec.build and output is not None:
            await self._containers.rebuild(spec, output)

    def runtime(self, spec: ServiceSpec) -> Runtime:
        return self._containers if spec.runtime == "container" else self._processes

    def _warn(self, spec: ServiceSpec, text: str) -> None:
        """Once for each service, however often it is restarted."""
        if (spec.name, text) not in self._warned:
            self._warned.add((spec.name, text))
            self.board.event("service.limited", f"{spec.name}: {text}", "warning", service=spec.name)

    def taken_ports(self, id: str) -> frozenset[int]:
        """Ports of other instances, whether they listen already or not."""
        return frozenset(one.port for runners in self._runners.values() for one in runners if one.id != id and one.port)

    def environment(self, spec: ServiceSpec) -> dict[str, str]:
        env = project_environment(self.manifest, os.environ, self.registry, self.redis_url)
        env[leftovers.MARK] = os.fspath(self._state)
        return env

    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> Capture:
        return self.logbook.open(spec.name, name, spec.logs, secrets)

    def unmet(self, spec: ServiceSpec) -> str:
        for name, condition in spec.depends_on.items():
            standings = [runner.standing for runner in self._runners.get(name, [])]
            if reason := dependency.unmet(name, condition, standings):
                return reason
        return ""

    def next_run(self, name: str) -> float:
        return self._next_runs.get(name, 0.0)

    def recorded(self) -> None:
        """Who is alive is written down, once for all that start or end within `RECORD_S`."""
        if not self._recording and self._nursery is not None:
            self._recording = True
            self._nursery.start_soon(self._record)

    async def _record(self) -> None:
        await trio.sleep(RECORD_S)
        self._recording = False
        leftovers.record(self._state_path, self.household.identities)

    @property
    def _state_path(self) -> Path:
        return Path(self._state)

    def link_want(self, id: str, registration: Registration | None) -> None:
        if self._link is not None:
            self._link.want(id, registration)

    def link_begun(self, id: str, since: Beginning) -> None:
        if self._link is not None:
            self._link.begun(id, since)

    def link_known(self, id: str) -> Instance | None:
        return self._link.known(id) if self._link is not None else None

    def link_report(self, id: str, registration: Registration, passing: bool, output: str) -> None:
        if self._link is not None:
            self._link.report(id, registration, passing, output)

    def link_gone(self, id: str) -> None:
        if self._link is not None:
            self._link.gone(id)

    async def link_left(self, id: str) -> bool:
        return self._link is not None and await self._link.left(id)

    # ------------------------------------------------------------ what an edited manifest asks

    def adopt(self, manifest: Manifest) -> list[str]:
        """From now on this is the manifest; who is running has not changed. Services that are chosen now and were not."""
        before = self._chosen
        self.manifest, self.specs = manifest, self.prepared(manifest)
        self._chosen = chosen(manifest.services, self.options.only, self.options.profiles)
        self.adopted.set()
        self.adopted = trio.Event()
        return [name for name in self.specs if name in self._chosen and name in self._runners and name not in before]

    def runners(self, name: str) -> list[Runner]:
        return list(self._runners.get(name, ()))

    def expect(self, name: str, at: float) -> None:
        """A scheduled service runs next `at` that time (Unix seconds)."""
        self._next_runs[name] = at
        for runner in self._runners.get(name, ()):
            runner.publish()

    def adjust_service(self, name: str) -> None:
        """Its instances take over what can change under a running process, the rest at their next start."""
        for runner in self._runners[name]:
            runner.adjust(self.specs[name])
        self._show(self.specs[name], len(self._runners[name]))

    async def close_service(self, name: str, *, forget: bool) -> None:
        """Stops it; nothing of it is alive then. With `forget` it is not shown any more either."""
        runners = self._runners[name]
        if not forget:
            await self._stop_runners(runners)
            return
        for runner in runners:
            runner.remove()
        for runner in runners:
            await runner.finished.wait()
        del self._runners[name]
        self.board.drop_instances(*(runner.id for runner in runners))
        self.board.drop_services(name)

    # ------------------------------------------------------------ Controls

    async def start(self, name: str) -> None:
        self._refuse_the_end()
        runners = self._find(name)
        for runner in (*self._also_needed(runners), *runners):
            runner.start()
        with trio.move_on_after(30):
            for runner in runners:
                await self.board.wait_for(lambda _, one=runner: one.life.state not in (ProcessState.STOPPED,))  # type: ignore[misc]

    def _also_needed(self, runners: Sequence[Runner]) -> list[Runner]:
        """What `up` did not choose and these depend on: nobody else would ever start it."""
        dependencies = {name: tuple(spec.depends_on) for name, spec in self.specs.items()}
        needed = graph.needed(dependencies, {runner.spec.name for runner in runners})
        unchosen = [name for name in needed if name not in self._chosen]
        return [one for name in unchosen for one in self.runners(name) if not one.wanted and one not in runners]

    def _refuse_the_end(self) -> None:
        if self.asked_to_stop.is_set():
            raise UsageError("the project is stopping; nothing was started")

    async def stop(self, name: str) -> None:
        await self._stop_runners(self._find(name))

    async def restart(self, name: str) -> None:
        self._refuse_the_end()
        runners = self._find(name)
        if len(runners) < 2:
            for runner in runners:
                await restart_alone(runner, self.board)
            return
        assert self._nursery is not None
        await self._rollouts.restart(runners, self._nursery)

    async def restart_anew(self, name: str) -> None:
        """As `restart`, once one that is under way is over: its first replicas know nothing of what has changed since."""
        await self._rollouts.wait_over(name)
        await self.restart(name)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        try:
            number = signal_number(signal)
        except ValueError as error:
            raise UsageError(str(error)) from None
        alive = [runner.process for runner in self._find(name) if runner.process is not None]
        if not alive:
            raise UsageError(f"{name}: no process is running — start it with `minikube start {name}`")
        for process in alive:
            await process.send(number)

    async def scale(self, name: str, replicas: int) -> None:
        self._refuse_the_end()
        if name not in self.specs or name not in self._runners:
            raise NotFound(f"{name}: no such service")
        spec, runners = self.specs[name], self._runners[name]
        check_replicas(spec, replicas, self.specs)
        wanted = any(runner.wanted for runner in runners) or name in self._chosen
        for index in range(len(runners) + 1, replicas + 1):
            self._add(spec, index)
            if wanted and not spec.schedule:
                runners[-1].start()
        extra = runners[replicas:]
        del runners[replicas:]
        for runner in extra:
            runner.remove()
        view = self.board.service(name)
        if view is not None:
            self.board.put_services(structs.replace(view, replicas=replicas))
        for runner in extra:
            await runner.finished.wait()
        await self.board.wait_for(
            lambda _: all(one.life.state is not ProcessState.STOPPED or not one.wanted for one in runners)
        )

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        runners = self._find(name)
        known = [runner for runner in runners if self._link is not None and self._link.known(runner.id)]
        if not known:
            raise UsageError(f"{name}: is not registered at the moment, so nobody finds it anyway — see `minikube ps`")
        for runner in known:
            assert self._link is not None
            await self._link.maintain(runner.id, on, reason)

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> ApplyReply:
        if self.applier is None:
            raise UsageError("the project is starting or stopping; nothing was changed")
        return await self.applier.apply(dry_run, refuse_empty=refuse_empty)

    def shutdown(self, now: bool = False) -> None:
        self.now = self.now or now
        if self.asked_to_stop.is_set() and self.now:
            for runner in self._all:
                runner.stop(now=True)
        self.asked_to_stop.set()

    def dependents(self, name: str) -> Sequence[str]:
        runners = self._find(name)
        dependencies = {one: tuple(spec.depends_on) for one, spec in self.specs.items()}
        return graph.dependents(dependencies, runners[0].spec.name if runners else name)

    def registered(self) -> Sequence[Instance]:
        return self._link.instances if self._link is not None else ()

    async def figures(self) -> Figures:
        lines = tuple(
            LogCount(one.service, one.instance, one.lines, one.dropped) for one in self.logbook.captures.values()
        )
        return Figures(await self._link.status(STATUS_TIMEOUT_S) if self._link is not None else None, lines)

    def logs(self, names: Sequence[str], query: LogQuery) -> AbstractAsyncContextManager[AsyncIterator[LogLine]]:
        wanted = {runner.name for name in names if name not in PARTS for runner in self._find(name)}

        def sources() -> list[Source]:
            known = {one.instance: one for one in self.logbook.captures.values()}
            found = {name: self.logbook.source(one.service, name, one.spec) for name, one in known.items()}
            for runners in self._runners.values():
                for one in runners:
                    found[one.name] = self.logbook.source(one.spec.name, one.name, one.spec.logs)
            if not names:
                return [one for name, one in found.items() if name not in PARTS]
            return [one for name, one in found.items() if name in wanted or name in names or one.service in names]

        return self.logbook.lines(sources, query)

    def _log_notice(self, service: str, instance: str, text: str) -> None:
        self.board.event("logs.dropped", text, "warning", service=service, instance=instance)

    def _find(self, name: str) -> list[Runner]:
        if name in self._runners:
            return list(self._runners[name])
        for runners in self._runners.values():
            for runner in runners:
                if name in (runner.name, runner.id):
                    return [runner]
        if self.board.service(name) is not None:
            raise UsageError(f"{name}: was registered by someone else, the supervisor has no hand in it")
        raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")


def _patience(runner: Runner) -> float:
    """How long its stop may take: leaving discovery, the stop's own time-out, and KILL's way."""
    return runner.spec.stop.timeout + LEAVE_S + 1.0


def is_down(runner: Runner) -> bool:
    """Nothing of it is alive, nor about to be."""
    return runner.process is None and runner.life.state not in (*ACTIVE, ProcessState.STOPPING, ProcessState.PENDING)
