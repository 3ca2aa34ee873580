"""Kill and stop the dashboard, and type what no terminal sends: the services run on."""

import os
import random
import signal
from contextlib import suppress

import trio

from tests.chaos.dashboard import dashboard
from tests.chaos.model import Kind
from tests.chaos.operations.table import held, operation
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

DRAWN_BYTES = 2_000
"""Less than a whole screen: the dashboard has drawn itself."""
SHOWN_S = 15.0
KEYS = (
    b"\xe9",
    b"\x1b[A",
    b"\x1b[B",
    b"\t",
    b"\x1b[M\xff\xff\xff",
    b"\x1b[200~\xc3(\x1b[201~",
    b"\x00",
    b"?",
    b"\x1b",
    b"/x\r",
)
"""Keys that change nothing, half sequences, and bytes that are no UTF-8."""


async def _wait_drawn(run: RunContext, printed: list[bytes]) -> None:
    if not await until(lambda: sum(map(len, printed)) > DRAWN_BYTES, SHOWN_S * run.bounds.patience):
        run.find(Kind.FAILED, f"the dashboard drew nothing: {b''.join(printed)[-300:]!r}")


@operation("dashboard.kill")
async def kill_dashboard(run: RunContext, step: Step) -> str:
    """Open the dashboard, and kill it."""
    async with dashboard(run) as (process, _, printed):
        await _wait_drawn(run, printed)
        process.kill()
        await process.wait()
    return str(process.pid)


@operation("dashboard.stop")
async def stop_dashboard(run: RunContext, step: Step) -> str:
    """Stop the dashboard for a while: a slow reader slows nothing."""
    async with dashboard(run) as (process, _, printed):
        await _wait_drawn(run, printed)
        process.send_signal(signal.SIGSTOP)
        await trio.sleep(held(step, 0.5, 5))
        process.send_signal(signal.SIGCONT)
    return str(process.pid)


@operation("dashboard.type")
async def type_into_dashboard(run: RunContext, step: Step) -> str:
    """Type odd bytes: the dashboard goes on."""
    chance = random.Random(step.choice)
    async with dashboard(run) as (process, master, printed):
        await _wait_drawn(run, printed)
        for _ in range(40):
            with suppress(OSError):
                os.write(master, chance.choice(KEYS))
            await trio.sleep(0.03)
        if process.poll() is not None:
            run.find(Kind.FAILED, f"the dashboard ended with {process.returncode}: {b''.join(printed)[-500:]!r}")
    return str(process.pid)
