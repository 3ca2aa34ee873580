"""A rolling restart (floor 3): so many replicas at a time that the service stays discoverable, each well before the next.

It holds the order and the patience; stopping, starting and what "well" means are the runners'. It stops at the first one that
does not come back: what runs is better than what might not.
"""

from collections.abc import Container, Sequence

import trio

from minikube.control.board import Board
from minikube.errors import MinikubeError, UsageError
from minikube.manifest import ServiceSpec
from minikube.model import ProcessState
from minikube.supervisor.dependency import ACTIVE
from minikube.supervisor.instance import Runner

MAX_REPLICAS = 1_000

READY_S = 30.0
"""How long one may take to be well after its start, on top of its check's `start_period`."""

BEGIN_S = 2.0
"""How long a start of one alone is watched: what cannot be executed is known at once."""


class Stranded(MinikubeError):
    """An instance did not come back; the ones after it were left alone."""


class Rollouts:
    """Those under way. `nursery` is where they go on, whether who asked for one waits or not."""

    def __init__(self, board: Board, nursery: trio.Nursery) -> None:
        self._board = board
        self._nursery = nursery
        self._under_way: dict[str, trio.Event] = {}
        """Services, and the event of their end."""

    async def restart(self, runners: Sequence[Runner]) -> None:
        """Rolls over all replicas of one service; returns when that is done. Raises `Stranded`, and `UsageError` when it is
        being done already."""
        service = runners[0].spec.name
        if service in self._under_way:
            raise UsageError(f"{service}: is being restarted already — `minikube events -f` shows how far it is")
        done = self._under_way[service] = trio.Event()
        trouble = list[Exception]()

        async def go_on() -> None:
            try:
                await roll(runners, self._board)
            except Exception as error:  # whatever it is: told to who asked, and the end of nothing that runs
                trouble.append(error)
                self._board.event("service.stranded", f"{service}: {error}", "error", service=service)
            finally:
                del self._under_way[service]
                done.set()

        self._nursery.start_soon(go_on)
        await done.wait()
        if trouble:
            raise trouble[0]

    async def wait_over(self, service: str) -> None:
        """Returns once none of that service is under way."""
        while service in self._under_way:
            await self._under_way[service].wait()
        await trio.lowlevel.checkpoint()


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


async def roll(runners: Sequence[Runner], board: Board) -> None:
    """Restarts all, `max_unavailable` at a time; those that are unavailable anyway go first. Raises `Stranded`.

    When cancelled, the ones under way go on, the others stay as they are.
    """
    waiting = sorted(runners, key=lambda one: one.ready)
    stranded: list[str] = []

    async def restart_next() -> None:
        while waiting and not stranded:
            runner = waiting.pop(0)
            if trouble := await _restart(runner, board):
                stranded.append(f"{runner.name} did not come back: {trouble}")

    async with trio.open_nursery() as nursery:
        for _ in range(max(1, runners[0].spec.restart.max_unavailable)):
            nursery.start_soon(restart_next)
    if stranded:
        left = f"; {', '.join(one.name for one in waiting)} not restarted" if waiting else ""
        raise Stranded(f"{'; '.join(stranded)}{left} — see `minikube logs {runners[0].spec.name}`")


async def _restart(runner: Runner, board: Board) -> str:
    """Empty once it is well again, else why it is not."""
    await restart_one(runner, board)
    patience = READY_S + (runner.spec.health.start_period if runner.spec.health else 0.0)
    with trio.move_on_after(patience):
        await board.wait_for(lambda _: runner.ready or not runner.wish.runs or runner.life.state not in _COMING)
    if runner.ready or not runner.wish.runs:
        return ""
    why = runner.standing.why
    return why if runner.life.state not in _COMING else f"not well after {patience:g} s" + (f" ({why})" if why else "")


async def restart_one(runner: Runner, board: Board) -> None:
    """Returns when the old process is gone and the next one is under way, or it is not wanted any more."""
    runner.restart()
    await board.wait_for(
        lambda _: not runner.wish.runs or not (runner.wish.again or runner.life.state is ProcessState.STOPPING)
    )


async def restart_alone(runner: Runner, board: Board) -> None:
    """As `restart_one`, and looks how it begins. Raises `Stranded` when it is fatal at once; what waits is not waited for."""
    await restart_one(runner, board)
    await see_begin([runner], board, "did not come back")


async def see_begin(runners: Sequence[Runner], board: Board, failed: str) -> None:
    """Looks how they begin. Raises `Stranded` when one is fatal at once; what waits is not waited for."""
    with trio.move_on_after(BEGIN_S):
        for one in runners:
            await board.wait_for(lambda _, one=one: one.life.state is not ProcessState.PENDING or bool(one.life.reason))  # type: ignore[misc]
    for one in runners:
        if one.life.state is ProcessState.FATAL:
            why = one.standing.why or "it is fatal"
            raise Stranded(f"{one.name} {failed}: {why} — see `minikube logs {one.name}`")


_COMING = (*ACTIVE, ProcessState.PENDING, ProcessState.STOPPED, ProcessState.STOPPING)
"""States on the way to being well: a restart passes through `stopped` for a moment."""
