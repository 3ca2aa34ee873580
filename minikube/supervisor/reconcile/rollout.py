"""A rolling restart (floor 3): so many replicas at a time that the service stays discoverable, each well before the next.

There is one roll-out of a service at most. Who asks while one is under way makes it go on: with what is wished by then, until every
replica began after the last wish; whoever has asked is answered at its end. Replicas that come, go or are stopped meanwhile
are not its doing, and it brings none of them back. `rolling` decides; this holds the patience; stopping, starting and what "well"
means are the runners'.
"""

from collections.abc import Container, Sequence
from typing import Protocol

import trio

from minikube.control.state_store import StateStore
from minikube.errors import MinikubeError, UsageError
from minikube.manifest import ServiceSpec
from minikube.model import ProcessState
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.termination import stop_patience
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout_plan import Replica, next_step

MAX_REPLICAS = 1_000

READY_S = 30.0
"""How long one may take to be well after its start, on top of its check's `start_period`."""

BEGIN_S = 2.0
"""How long a start of one alone is watched: what cannot be executed is known at once."""


class RolloutFailed(MinikubeError):
    """An instance did not come back; the ones after it were left alone."""


class Superseded(RolloutFailed):
    """What was wished later is done; this is not."""


class Home(Protocol):
    """What is needed of the supervisor's core."""

    board: StateStore
    roster: ReplicaSet
    ending: CancelEvent
    """Everything is being stopped."""


class Rollout:
    """One that is under way."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.trouble: Exception | None = None
        self.asked = CancelEvent()
        """Set when somebody asks for more."""
        self.awaited: dict[InstanceController, float] = {}
        """Who was restarted and is not well yet, and until when that may be so."""
        self.lost: dict[InstanceController, str] = {}
        """Who did not come back, and why."""
        self.left: list[str] = []


class Rollouts:
    """Those under way. `nursery` is where they go on, whether who asked for one waits or not."""

    def __init__(self, home: Home, nursery: trio.Nursery) -> None:
        self._home = home
        self._board = home.board
        self._nursery = nursery
        self._under_way: dict[str, Rollout] = {}

    def __contains__(self, service: str) -> bool:
        return service in self._under_way

    async def restart(self, runners: Sequence[InstanceController]) -> None:
        """Rolls over these replicas of one service; returns when no roll-out of it is under way. Raises `RolloutFailed`."""
        service = runners[0].spec.name
        for runner in runners:
            runner.queue()
        roll = self._under_way.get(service)
        if roll is None:
            roll = self._under_way[service] = Rollout()
            self._nursery.start_soon(self._go_on, service, roll)
        roll.lost.clear()
        roll.left.clear()
        roll.asked.set()
        await roll.done.wait()
        if roll.trouble is not None:
            raise roll.trouble

    async def _go_on(self, service: str, roll: Rollout) -> None:
        try:
            await self._roll(service, roll)
            roll.trouble = self._judged(service, roll)
        except Exception as error:  # whatever it is: told to who asked, and the end of nothing that runs
            roll.trouble = error
        finally:
            del self._under_way[service]
            roll.done.set()
        if roll.trouble is not None and not isinstance(roll.trouble, Superseded):
            self._board.event("service.stranded", f"{service}: {roll.trouble}", "error", service=service)

    async def _roll(self, service: str, roll: Rollout) -> None:
        while not self._home.ending.is_set():
            roll.asked, revision = CancelEvent(), self._board.revision
            runners = {one.name: one for one in self._home.roster.of(service) if one.wish.runs}
            self._look(runners, roll)
            standing = [Replica(one.name, one.wish.turn, one.ready, one in roll.awaited) for one in runners.values()]
            at_a_time = max((one.spec.restart.max_unavailable for one in runners.values()), default=1)
            step = next_step(standing, at_a_time, lost=bool(roll.lost))
            for name in step.leave:
                runners[name].leave_alone()
                roll.left.append(name)
            for name in step.begin:
                runners[name].restart()
                roll.awaited[runners[name]] = trio.current_time() + patience(runners[name])
            if step.over:
                return
            with trio.move_on_at(min(roll.awaited.values(), default=float("inf"))), roll.asked.cancels():
                await self._board.wait_past(revision)

    def _look(self, runners: dict[str, InstanceController], roll: Rollout) -> None:
        """Who is not waited for any more, because it is well, is not wanted, is due again or is lost."""
        now = trio.current_time()
        for one, until in list(roll.awaited.items()):
            if runners.get(one.name) is not one or one.wish.turn or _is_back(one):
                del roll.awaited[one]
            elif why := _lost(one, now >= until):
                del roll.awaited[one]
                roll.lost[one] = why

    def _judged(self, service: str, roll: Rollout) -> RolloutFailed | None:
        if self._home.ending.is_set():
            return Superseded(f"{service}: the project is stopping")
        if roll.lost:
            lost = "; ".join(f"{one.name} did not come back: {why}" for one, why in roll.lost.items())
            left = f"; {', '.join(roll.left)} not restarted" if roll.left else ""
            return RolloutFailed(f"{lost}{left} — see `minikube logs {service}`")
        if not any(one.wish.runs for one in self._home.roster.of(service)):
            return Superseded(f"{service}: was stopped meanwhile")
        return None


def patience(runner: InstanceController) -> float:
    """Seconds from the wish to restart it until it has to be well."""
    health = runner.spec.health
    return stop_patience(runner.spec.stop) + READY_S + (health.start_period if health else 0.0)


def _is_back(one: InstanceController) -> bool:
    if one.wish.ends_life:
        return False
    return one.ready or one.life.completed


def _lost(one: InstanceController, late: bool) -> str:
    """Why it is not going to be well; empty while it may be."""
    if one.wish.again and not late:
        return ""
    why = one.standing.why
    if one.life.state.has_ended:
        return why or f"it is {one.life.state}"
    return f"not well in time ({why})" if late and why else "not well in time" if late else ""


def check_replicas(spec: ServiceSpec, replicas: int, names: Container[str]) -> None:
    """Raises `UsageError` where there cannot be so many; `names` are the other services'."""
    key = f"services.{spec.name}.port"
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UsageError(f"replicas: expected 0 to {MAX_REPLICAS}, got {replicas}")
    if replicas > 1 and spec.port and not spec.auto_port and not spec.has_own_address:
        first, last = spec.port, spec.port + 9
        raise UsageError(
            f'{spec.name}: all replicas would listen on port {spec.port} — set {key} = "{first}-{last}" or "auto"'
        )
    first, last = spec.port_range
    if first and replicas > last - first + 1:
        raise UsageError(f"{spec.name}: {replicas} replicas, but only {last - first + 1} ports — widen {key}")
    taken = [one for index in range(1, replicas + 1) if (one := f"{spec.name}-{index}") in names]
    if taken and replicas > 1:
        raise UsageError(f"{spec.name}: a replica would be called {taken[0]}, as another service is — rename that")


async def restart_alone(runner: InstanceController, board: StateStore) -> None:
    """Returns when the next life is under way or waits for something. Raises `RolloutFailed` when it is fatal at once."""
    runner.restart()
    with trio.move_on_after(stop_patience(runner.spec.stop)) as bound:
        await board.wait_for(
            lambda _: not runner.wish.runs or not (runner.wish.again or runner.life.state is ProcessState.STOPPING)
        )
    if bound.cancelled_caught:
        raise RolloutFailed(f"{runner.name}: is not down yet: {runner.standing.why or 'it is being stopped'}")
    if not runner.wish.runs:
        raise Superseded(f"{runner.name}: was stopped meanwhile")
    await see_begin([runner], board, "did not come back")


async def see_well(runner: InstanceController, board: StateStore) -> None:
    """Looks how the first moments of a life go. Raises `RolloutFailed` when it has ended already, and not with success."""
    with trio.move_on_after(BEGIN_S):
        await board.wait_for(lambda _: runner.life.state is not ProcessState.STARTING)
    if runner.life.state.has_ended and runner.wish.runs and not runner.life.completed:
        raise RolloutFailed(
            f"{runner.name} did not come back: {runner.standing.why} — see `minikube logs {runner.name}`"
        )


async def see_begin(runners: Sequence[InstanceController], board: StateStore, failed: str) -> None:
    """Looks how they begin. Raises `RolloutFailed` when one is fatal at once; what waits is not waited for."""
    with trio.move_on_after(BEGIN_S):
        for one in runners:
            await board.wait_for(lambda _, one=one: one.life.state is not ProcessState.PENDING or bool(one.life.reason))  # type: ignore[misc]
    for one in runners:
        if one.life.state is ProcessState.FATAL:
            why = one.standing.why or "it is fatal"
            raise RolloutFailed(f"{one.name} {failed}: {why} — see `minikube logs {one.name}`")
