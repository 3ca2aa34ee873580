"""A rolling restart (floor 3): so many replicas at a time that the service stays discoverable, each well before the next.

It holds the order and the patience; stopping, starting and what "well" means are the runners'. It stops at the first one that
does not come back: what runs is better than what might not.
"""

from collections.abc import Sequence

import trio

from minikube.control.board import Board
from minikube.errors import MinikubeError
from minikube.model import ProcessState
from minikube.supervisor.instance import ACTIVE, Runner

READY_S = 30.0
"""How long one may take to be well after its start, on top of its check's `start_period`."""


class Stranded(MinikubeError):
    """An instance did not come back; the ones after it were left alone."""


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
        await board.wait_for(lambda _: runner.ready or runner.removed or runner.life.state not in _COMING)
    if runner.ready or runner.removed or not runner.wanted:
        return ""
    why = runner.standing.why
    return why if runner.life.state not in _COMING else f"not well after {patience:g} s" + (f" ({why})" if why else "")


async def restart_one(runner: Runner, board: Board) -> None:
    """Returns when the old process is gone and the next one is under way."""
    before = runner.life.restarts
    runner.restart()
    await board.wait_for(
        lambda _: (runner.life.restarts > before and runner.life.state is not ProcessState.STOPPING) or runner.removed
    )


_COMING = (*ACTIVE, ProcessState.PENDING, ProcessState.STOPPED, ProcessState.STOPPING)
"""States on the way to being well: a restart passes through `stopped` for a moment."""
