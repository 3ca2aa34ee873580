"""Start the project, see that nothing is left when it ends, and start it again."""

from collections.abc import Callable

import trio

from tests.chaos.model import Allowance, Kind
from tests.chaos.processes import strangers
from tests.chaos.registry_client import Refused, call_once
from tests.chaos.run_context import RunContext, until

WAIT_S = 60.0
ENGINE_POLL_S = 0.2
ALL = (Allowance.END, Allowance.REMOVAL, Allowance.STALE, Allowance.SILENCE, Allowance.NO_CONTROL)


async def start(run: RunContext) -> None:
    """Start the project in the background. Raises `CommandFailed`."""
    await run.project.run("up", "-d", "--timeout", "60s")


async def end_of_run(run: RunContext, end: Callable[[], object] | None, seconds: float) -> None:
    """End the run by `end()` (None: by `down`); see that nothing is left after `seconds`; start it again."""
    excuses = run.excuse("*", *ALL)
    if end is not None:
        end()
    else:
        await run.project.run("down")
    await wait_nothing_left(run, seconds)
    stale = [one for one in excuses if one.what is Allowance.STALE]
    for one in stale:
        # No grace: the next run never hands out the addresses of this one.
        one.end = run.now() - run.bounds["grace"]
    await start(run)
    await wait_registry(run, writes=True)
    run.end([one for one in excuses if one not in stale])


async def wait_nothing_left(run: RunContext, seconds: float) -> None:
    """Wait until no process, container or network of the project is left; note as findings what is after `seconds`."""
    if not await until(lambda: not strangers(run), seconds):
        for text in strangers(run):
            run.find(Kind.SURVIVOR, f"alive {seconds:g} s after the end: {text}")
        await until(lambda: not strangers(run), WAIT_S)
    if run.engine is not None:
        deadline = run.now() + seconds
        while (left := await run.engine.left()) and run.now() < deadline:
            await trio.sleep(ENGINE_POLL_S)
        for text in left:
            run.find(Kind.SURVIVOR, f"the engine has {seconds:g} s after the end: {text}")


async def wait_registry(run: RunContext, *, writes: bool = False) -> float:
    """Wait until the registry answers (`writes`: and can write to Redis); return the seconds. Note when it never does."""
    started = run.now()
    while run.now() - started < WAIT_S:
        try:
            status = await call_once("Status", seconds=run.bounds["serve"])
        except (OSError, trio.TooSlowError, Refused, ValueError):
            pass
        else:
            if not (writes and status["Stale"]):
                return run.now() - started
        await trio.sleep(0.05)
    run.find(Kind.HANG, f"the registry was not well again {WAIT_S:g} s later")
    return run.now() - started
