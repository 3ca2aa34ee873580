"""Set the clock of the project's processes; the machine's is left alone."""

from tests.chaos.model import Kind
from tests.chaos.operations.table import choose, operation
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

OFFSETS = ("-172800", "-3600", "0", "3600", "3456000")
"""In seconds: two days and an hour back, right, an hour and forty days on."""
TICK_S = 3.0
"""The interval of the service `tick`."""
NOTICED_S = 0.5


@operation("clock.set")
async def set_clock(run: RunContext, step: Step) -> str:
    """Set the clock: nothing is removed, schedules go on, and what is shown has the new time."""
    offset = choose(step, OFFSETS)
    await run.project.set_clock(offset)
    before = run.now()

    def has_ticked() -> bool:
        return any(one.service == "tick" and one.born > before + NOTICED_S for one in run.history.processes)

    if not await until(has_ticked, (NOTICED_S + 2 * TICK_S) * run.bounds.patience):
        run.find(Kind.HANG, f"no scheduled run came after the clock was set to {offset} s")
    return f"{offset} s"
