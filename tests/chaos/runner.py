"""One run: start the project, do the steps, settle, stop it, and return what was found."""

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.chaos import engine, guests, log_follower, observers, settling
from tests.chaos.engine import Engine, EngineFailed
from tests.chaos.lifecycle import start, wait_nothing_left
from tests.chaos.log import RunLog, step_record
from tests.chaos.model import Allowance, Bounds, Kind
from tests.chaos.operations import OPERATIONS, NoTarget
from tests.chaos.processes import open_births, receive_births, strangers
from tests.chaos.project import CommandFailed, Project
from tests.chaos.report import Result, summarize
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import SETTLE, Step

STEP_S = 240.0
"""A step that takes longer hangs."""
UNSETTLED_MOST = 2
"""After that many times in which it does not get well a run has nothing more to tell."""


@dataclass(frozen=True)
class Plan:
    """What to run: at most `seconds` of `steps`, in an empty `directory`."""

    directory: Path
    steps: Iterable[Step]
    seconds: float
    patience: float


async def run_plan(plan: Plan, log: RunLog) -> Result:
    """Run it all; the project is down at the end."""
    project = Project(plan.directory / "project", plan.directory / "births")
    project.directory.mkdir(exist_ok=True)
    project.write()
    with open_births(plan.directory / "births") as births:
        return await _run_with(births, project, plan, log)


async def _run_with(births: socket.socket, project: Project, plan: Plan, log: RunLog) -> Result:
    async with trio.open_nursery() as nursery:
        run = RunContext(project, log, Bounds(plan.patience), nursery)
        nursery.start_soon(receive_births, run, births)
        first = run.excuse("*", *Allowance)
        try:
            await _open_engine(run, plan)
            await _run_steps(run, plan, lambda: run.end(first))
        except (CommandFailed, EngineFailed) as error:
            run.find(Kind.FAILED, str(error))
        except trio.TooSlowError:
            run.find(Kind.HANG, "a command did not end")
        await _stop(run)
        nursery.cancel_scope.cancel()
    return summarize(run)


async def _open_engine(run: RunContext, plan: Plan) -> None:
    """Start a container engine where one is installed. Raises `EngineFailed`."""
    if not engine.missing():
        run.engine = Engine(plan.directory / "engine")
        await run.engine.open()


async def _run_steps(run: RunContext, plan: Plan, on_settled: Callable[[], None]) -> None:
    await start(run)
    async with trio.open_nursery() as nursery:
        for observer in (
            observers.look_up,
            observers.watch,
            observers.read_status,
            observers.measure_usage,
            observers.judge,
            guests.run_guests,
            log_follower.follow_log,
        ):
            nursery.start_soon(observer, run)
        unsettled = 0 if await settling.settle(run) else UNSETTLED_MOST
        on_settled()
        deadline = run.now() + plan.seconds
        for step in plan.steps:
            if run.now() > deadline or unsettled >= UNSETTLED_MOST:
                break
            await trio.sleep(step.gap)
            if step.op == SETTLE:
                run.log.write("step", step=step_record(step))
                unsettled = 0 if await settling.settle(run) else unsettled + 1
            else:
                await _run_step(run, step)
        if unsettled < UNSETTLED_MOST:
            await settling.settle(run)
        await trio.sleep(2.5)  # what was seen last is judged, too
        nursery.cancel_scope.cancel()


async def _run_step(run: RunContext, step: Step) -> None:
    """Do one step; whatever goes wrong is a finding, and the run goes on."""
    run.log.write("step", step=step_record(step))
    try:
        with trio.fail_after(STEP_S):
            target = await OPERATIONS[step.op](run, step)
    except (NoTarget, OSError) as error:
        run.find(Kind.FAILED, f"{step.op} had no target: {error}")
    except (CommandFailed, EngineFailed) as error:
        run.find(Kind.FAILED, f"{step.op}: {error}")
    except trio.TooSlowError:
        run.find(Kind.HANG, f"{step.op} did not end")
    else:
        run.operations[step.op] = run.operations.get(step.op, 0) + 1
        run.log.write("done", op=step.op, target=target)


async def _stop(run: RunContext) -> None:
    """Stop the project in order; note what is left."""
    run.excuse("*", *Allowance)
    settling.scan_logs(run)
    try:
        await run.project.run("down", codes=(0, 3))
    except CommandFailed as error:
        run.find(Kind.FAILED, str(error))
    except trio.TooSlowError:
        run.find(Kind.HANG, "down did not end")
    try:
        await wait_nothing_left(run, run.bounds["survive"])
    except (EngineFailed, trio.TooSlowError) as error:
        run.find(Kind.FAILED, f"the engine does not tell what is left: {error}")
    if run.engine is not None:
        await run.engine.stop()
        if not await until(lambda: not strangers(run), run.bounds["survive"]):
            run.find(Kind.SURVIVOR, f"alive after the end of the engine: {', '.join(strangers(run))}")
