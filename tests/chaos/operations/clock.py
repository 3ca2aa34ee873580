"""Set the clock of the project's processes; the machine's is left alone."""

import time

from tests.chaos.model import Kind
from tests.chaos.operations.store import on_redis
from tests.chaos.operations.table import NoTarget, choose, operation
from tests.chaos.project import FAKETIME
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

OFFSETS = ("-172800", "-3600", "+0", "+3600", "+3456000")
"""In seconds: two days and an hour back, right, an hour and forty days on."""
TICK_S = 3.0
"""The interval of the service `tick`."""
NOTICED_S = 0.5
DIFFERENCE_S = 60


@operation("clock.set")
async def set_clock(run: RunContext, step: Step) -> str:
    """Set the clock: nothing is removed, schedules go on, and what is shown has the new time."""
    offset = choose(step, OFFSETS)
    await run.project.set_clock(offset)
    before = run.now()
    if FAKETIME:
        await _check_redis(run, offset)

    def has_ticked() -> bool:
        return any(one.service == "tick" and one.born > before + NOTICED_S for one in run.history.processes)

    if not await until(has_ticked, (NOTICED_S + 2 * TICK_S) * run.bounds.patience):
        run.find(Kind.HANG, f"no scheduled run came after the clock was set to {offset} s")
    return f"{offset} s"


async def _check_redis(run: RunContext, offset: str) -> None:
    """Raise `NoTarget` where the clock of Redis was not set."""
    found: list[float] = []
    await on_redis(run, lambda client: found.append(client.time()[0]))
    if abs(found[0] - time.time() - float(offset)) > DIFFERENCE_S:
        raise NoTarget(f"Redis has the time {found[0]}, which is not {offset} s off")
