"""The supervisor's core (floor 3): the services of the manifest, each with a runner a replica.

    apply, hands, timetable, watcher ──► Supervisor ──► Runner, Runner, …      what is to be
                                          Supervisor ◄── Runner                 what a runner needs (`instance.Home`)

Services stop before what they depend on. It refuses to know who asks: the control API's acts are `hands`'.
"""

import os
from collections.abc import Iterable, Sequence

import trio
from msgspec import structs

from minikube.health.prober import Prober
from minikube.linux.ports import PortAllocator
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import Manifest, ServiceSpec
from minikube.model import ProcessState, ServiceView
from minikube.project import graph
from minikube.project import orphans as leftovers
from minikube.project.environment import project_environment
from minikube.project.ids import instance_id
from minikube.project.selection import chosen
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.context import RunContext
from minikube.supervisor.instance import conditions as dependency
from minikube.supervisor.instance import desired_state as wishes
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.instance.termination import stop_patience
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.reconcile.ordering import in_order
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout import RolloutFailed
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.interface import Runtime
from minikube.supervisor.runtime.process.process import KILL_PATIENCE_S
from minikube.supervisor.runtime.process.runtime import ProcessRuntime
from minikube.text import mask_url

RECORD_S = 0.01
"""A hundred starts, each with a record of all, took longer than the starts. What is missed meanwhile has the mark."""


class Reconciler:
    """Implements what `instance.Home` asks for. Belongs to the trio thread; its tasks belong to `nursery`."""

    def __init__(
        self, site: RunContext, manifest: Manifest, roster: ReplicaSet, link: RegistrySync, nursery: trio.Nursery
    ) -> None:
        self.site = site
        self.board = site.board
        self.options = site.options
        self.asked_to_stop = site.asked_to_stop
        self.at_once = site.at_once
        self.ending = site.asked_to_stop
        self.manifest = manifest
        self.specs: dict[str, ServiceSpec] = self._prepared(manifest)
        self.roster = roster
        self.link = link
        self.prober = Prober()
        self.adopted = CancelEvent()
        """Set when another manifest is adopted; then there is a new one."""
        self._nursery = nursery
        self._chosen = chosen(manifest.services, site.options.only, site.options.profiles)
        claims = PortAllocator()
        self._processes = ProcessRuntime(site.household, self.environment, self._warn, claims)
        self._containers = ContainerRuntime(
            site.household,
            manifest,
            site.state,
            lambda: (site.registry, site.redis_url),
            lambda text, level: site.board.event("containers.engine", text, level),
            claims,
            site.options.unbuilt,
        )
        self._containers.open(nursery)
        self._recording = False
        self._warned: set[tuple[str, str]] = set()
        self._next_runs: dict[str, float] = {}

    # ------------------------------------------------------------ services come

    def open(self) -> None:
        """Every instance of the manifest; returns at once."""
        for name in graph.start_order({name: tuple(spec.depends_on) for name, spec in self.specs.items()}):
            self.open_service(self.specs[name])

    def open_service(self, spec: ServiceSpec) -> None:
        self.roster.open(spec.name)
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

    def _add(self, spec: ServiceSpec, index: int) -> InstanceController:
        runs = spec.name in self._chosen and not self.asked_to_stop.is_set()
        wish = wishes.scheduled(runs) if spec.schedule else DesiredState(runs=runs)
        runner = InstanceController(self, spec, index, instance_id(self.site.project, spec.name, index), wish)
        self.link.absent(runner.id)
        previous = self.roster.enter(runner)
        runner.publish()
        self._nursery.start_soon(self._run, runner, previous)
        return runner

    async def _run(self, runner: InstanceController, previous: InstanceController | None) -> None:
        if previous is not None:  # it was scaled away a moment ago: two of one id would end each other's processes
            await previous.finished.wait()
        await runner.run()
        if self.roster.leave(runner):
            self.board.drop_instances(runner.id)

    def _prepared(self, manifest: Manifest) -> dict[str, ServiceSpec]:
        """The manifest's services as this `up` runs them: one whose end is awaited is not started again and again."""
        name, specs = self.options.exit_with, dict(manifest.services)
        if name in specs and specs[name].restart.policy == "always":
            never = structs.replace(specs[name].restart, policy="never")
            specs[name] = structs.replace(specs[name], restart=never)
        return specs

    def resize(self, name: str, replicas: int) -> list[InstanceController]:
        """So many replicas of a service from now on; those that are leaving."""
        spec, runners = self.specs[name], self.roster.of(name)
        wanted = any(runner.wish.runs for runner in runners) or name in self._chosen
        for index in range(len(runners) + 1, replicas + 1):
            runner = self._add(spec, index)
            if wanted and not spec.schedule:
                runner.start()
        leaving = self.roster.cut(name, replicas)
        for runner in leaving:
            runner.remove()
        self._show(spec, replicas)
        return leaving

    def also_needed(self, runners: Sequence[InstanceController]) -> list[InstanceController]:
        """What `up` did not choose and these depend on: nobody else would ever start it."""
        dependencies = {name: tuple(spec.depends_on) for name, spec in self.specs.items()}
        needed = graph.needed(dependencies, {runner.spec.name for runner in runners})
        unchosen = [name for name in needed if name not in self._chosen]
        return [one for name in unchosen for one in self.roster.of(name) if not one.wish.runs and one not in runners]

    # ------------------------------------------------------------ services change

    def adopt(self, manifest: Manifest) -> list[str]:
        """From now on this is the manifest; who is running has not changed. Services that are chosen now and were not."""
        before = self._chosen
        self.manifest, self.specs = manifest, self._prepared(manifest)
        self._chosen = chosen(manifest.services, self.options.only, self.options.profiles)
        adopted, self.adopted = self.adopted, CancelEvent()
        adopted.set()
        return [name for name in self.specs if name in self._chosen and name in self.roster and name not in before]

    def adjust_service(self, name: str) -> None:
        """Its instances take over what can change under a running process, the rest at their next start."""
        runners = self.roster.of(name)
        for runner in runners:
            runner.adjust(self.specs[name])
        self._show(self.specs[name], len(runners))

    def expect(self, name: str, at: float) -> None:
        """A scheduled service runs next `at` that time (Unix seconds)."""
        self._next_runs[name] = at
        for runner in self.roster.of(name):
            runner.publish()

    async def rebuild(self, name: str) -> None:
        """Builds the service's image again, where it has one to build; what runs is not touched. Raises `StartError`."""
        spec, runners = self.specs[name], self.roster.of(name)
        output = self.site.logbook.logs.get(runners[0].name) if runners else None
        if spec.runtime == "container" and spec.build and output is not None:
            await self._containers.rebuild(spec, output)

    # ------------------------------------------------------------ services end

    async def wait_ended(self, name: str) -> list[InstanceState]:
        """How every instance of a service ended, once each has for good."""
        lives: list[InstanceState] = []

        def have_ended() -> bool:
            lives[:] = [runner.life for runner in self.roster.of(name)]
            return bool(lives) and all(life.state.is_final for life in lives)

        await self.board.wait_for(lambda _: have_ended())
        return lives

    async def stop_runners(self, runners: Sequence[InstanceController]) -> None:
        for runner in runners:
            runner.stop()
        for runner in runners:
            await runner.wait_down()

    async def wait_gone(self, leaving: Sequence[InstanceController]) -> None:
        """For those that are removed; they are told when they are still there although they had their time."""
        with trio.move_on_after(_patience(leaving)) as bound:
            for runner in leaving:
                await runner.finished.wait()
        if bound.cancelled_caught:
            self._refuse_to_wait([one for one in leaving if not one.finished.is_set()])

    async def stop_in_time(self, runners: Sequence[InstanceController]) -> None:
        """`stop_runners`, for who asks. Raises when something is still there although it had its time."""
        with trio.move_on_after(_patience(runners)) as bound:
            await self.stop_runners(runners)
        if bound.cancelled_caught:
            self._refuse_to_wait([one for one in runners if not one.is_down])

    def _refuse_to_wait(self, left: Sequence[InstanceController]) -> None:
        told = [f"{one.name}: is not down yet: {one.standing.why or 'it is being stopped'}" for one in left]
        if told:
            raise RolloutFailed("; ".join(told))

    async def stop_service(self, name: str) -> None:
        """Nothing of it is alive then."""
        await self.stop_in_time(self.roster.of(name))

    async def forget_service(self, name: str) -> None:
        """Stops it; then it is not shown any more either."""
        runners = self.roster.of(name)
        for runner in runners:
            runner.remove()
        try:
            await self.wait_gone(runners)
        finally:  # whoever is slow to leave is of no service any more; his row goes when he does
            self.roster.close(name)
            self.board.drop_instances(*(runner.id for runner in runners if runner.finished.is_set()))
            self.board.drop_services(name)

    async def stop_all(self) -> None:
        """Everything, in reverse dependency order; returns when nothing of any service is alive.

        An apply may be under way: a service that it has not opened yet has no runner, one that it closes is in no manifest.
        """
        self.board.set_phase("stopping")
        dependencies = {name: tuple(spec.depends_on) for name, spec in self.specs.items()}
        members = {name: self.roster.of(name) for name in dependencies}
        leaving = self.roster.all.difference(*members.values())
        patience = {name: _patience(runners, ending=True) for name, runners in members.items()}
        longest, _ = graph.longest_stop(dependencies, patience)
        longest = max(longest, _patience(leaving, ending=True)) + KILL_PATIENCE_S
        async with trio.open_nursery() as watching:
            watching.start_soon(self._containers.watch)
            with trio.move_on_after(longest) as bound:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.stop_runners, list(leaving))
                    dependents = {name: graph.dependents(dependencies, name) for name in dependencies}
                    nursery.start_soon(in_order, dependents, lambda name: self.stop_runners(members[name]))
            if bound.cancelled_caught:
                self._say_who_is_stuck(longest)
            self.site.left = await self._containers.close()
            watching.cancel_scope.cancel()
        if self.site.left:
            self.board.event("containers.left", str(self.site.left), "error")

    def _say_who_is_stuck(self, waited: float) -> None:
        left = [(one.name, one.process.holders()) for one in self.roster.all if one.process is not None]
        who = "; ".join(f"{name}: {', '.join(holders)}" for name, holders in sorted(left))
        self.board.event("supervisor.stuck", f"gave up waiting after {waited:.0f} s: {who}", "error")

    # ------------------------------------------------------------ what runners ask

    def runtime(self, spec: ServiceSpec) -> Runtime:
        return self._containers if spec.runtime == "container" else self._processes

    def taken_ports(self, id: str) -> frozenset[int]:
        return self.roster.ports_of_others(id)

    def environment(self, spec: ServiceSpec) -> dict[str, str]:
        env = project_environment(self.manifest, os.environ, self.site.registry, self.site.redis_url)
        env[leftovers.MARK] = str(self.site.state)
        return env

    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> InstanceLog:
        return self.site.logbook.open(spec.name, name, spec.logs, secrets)

    def unmet(self, spec: ServiceSpec) -> str:
        for name, condition in spec.depends_on.items():
            if reason := dependency.unmet(name, condition, self.roster.standings(name)):
                return reason
        return ""

    def missing(self, spec: ServiceSpec) -> str:
        """Why a service could not start now nor, unless somebody helps, later; empty where it can, or has only to wait."""
        for name, condition in spec.depends_on.items():
            if reason := dependency.unmet(name, condition, self.roster.standings(name)):
                coming = [self._comes(one) for one in self.roster.of(name)]
                done = [one.life.completed for one in self.roster.of(name)]
                every = condition == "completed"
                if not (any(coming) if not every else coming and all(map(max, coming, done))):
                    return reason
        return ""

    def _comes(self, runner: InstanceController) -> bool:
        """Whether it will be there by itself, and waits for nothing that will not."""
        if not lifecycle.comes(runner.life, runner.wish, bool(runner.spec.schedule)):
            return False
        return runner.life.state is not ProcessState.PENDING or not self.missing(runner.spec)

    def next_run(self, name: str) -> float:
        return self._next_runs.get(name, 0.0)

    def recorded(self) -> None:
        """Who is alive is written down, once for all that start or end within `RECORD_S`."""
        if not self._recording:
            self._recording = True
            self._nursery.start_soon(self._record)

    async def _record(self) -> None:
        await trio.sleep(RECORD_S)
        self._recording = False
        leftovers.record(self.site.state, self.site.household.identities)

    def _warn(self, spec: ServiceSpec, text: str) -> None:
        """Once for each service, however often it is restarted."""
        if (spec.name, text) not in self._warned:
            self._warned.add((spec.name, text))
            self.board.event("service.limited", f"{spec.name}: {text}", "warning", service=spec.name)


def _patience(runners: Iterable[InstanceController], ending: bool = False) -> float:
    """How long their stop may take, at the same time."""
    return max((stop_patience(runner.spec.stop, ending) for runner in runners), default=0.0)
