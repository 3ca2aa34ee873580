"""Kill and stop processes of every kind."""

import signal
from collections.abc import Awaitable, Callable

import trio

from tests.chaos.lifecycle import end_of_run, wait_registry
from tests.chaos.model import Allowance, Kind, Process
from tests.chaos.operations.table import choose_process, held, operation, wait_part
from tests.chaos.processes import send_signal
from tests.chaos.project import BY_NAME
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

HANG_SEEN_S = 10.0
"""Interval, two time-outs and a second: a check sees by then that a process is stopped."""
STOP_MOST_S = 12.0


@operation("kill.instance", weight=6)
async def kill_instance(run: RunContext, step: Step) -> str:
    """Kill an instance, and do not wait."""
    process = await choose_process(run, step, "main")
    send_signal(run, process, signal.SIGKILL)
    return f"{process.service} {process.pid}"


@operation("kill.child")
async def kill_child(run: RunContext, step: Step) -> str:
    """Kill a child of an instance; the instance lives on."""
    process = await choose_process(run, step, "child")
    send_signal(run, process, signal.SIGKILL)
    return f"{process.service} {process.pid}"


@operation("kill.registry", weight=2)
async def kill_registry(run: RunContext, step: Step) -> str:
    """Kill the registry; it serves again in time, with everything it knew."""
    process = await wait_part(run, "registry")
    with run.allow("*", Allowance.SILENCE, Allowance.STALE):
        send_signal(run, process, signal.SIGKILL)
        if (took := await wait_registry(run)) > run.bounds["serve"]:
            run.find(Kind.HANG, f"the registry served again only {took:.1f} s after its kill")
    return str(process.pid)


@operation("kill.redis", weight=2)
async def kill_redis(run: RunContext, step: Step) -> str:
    """Kill Redis; writes go on when it is back."""
    process = await wait_part(run, "redis")
    with run.allow("*", Allowance.STALE):
        send_signal(run, process, signal.SIGKILL)
        await until(lambda: process.died < run.now(), 5)
        await wait_registry(run, writes=True)
    return str(process.pid)


@operation("kill.supervisor")
async def kill_supervisor(run: RunContext, step: Step) -> str:
    """Kill the supervisor; the guardian ends everything; `up` starts it again."""
    process = await wait_part(run, "supervisor")
    await end_of_run(run, lambda: send_signal(run, process, signal.SIGKILL), run.bounds["survive"])
    return str(process.pid)


@operation("kill.guardian")
async def kill_guardian(run: RunContext, step: Step) -> str:
    """Kill the guardian; the supervisor ends everything in order; `up` starts it again."""
    process = await wait_part(run, "guardian")
    await end_of_run(run, lambda: send_signal(run, process, signal.SIGKILL), run.bounds["settle"])
    return str(process.pid)


@operation("stop.instance", weight=2)
async def stop_instance(run: RunContext, step: Step) -> str:
    """Stop an instance for a while; a check that can see it does, in time."""
    process = await choose_process(run, step, "main")

    async def stop() -> None:
        send_signal(run, process, signal.SIGSTOP)

    async def resume() -> None:
        if process.died > run.now():
            send_signal(run, process, signal.SIGCONT)

    seconds = await hang(run, step, process, stop, resume)
    return f"{process.service} {process.pid} for {seconds:.1f} s"


async def hang(
    run: RunContext,
    step: Step,
    process: Process,
    stop: Callable[[], Awaitable[None]],
    resume: Callable[[], Awaitable[None]],
) -> float:
    """Let an instance hang for a while, and return how long; note where a check that can see it does not, in time."""
    service = BY_NAME[process.service]
    seen_s = HANG_SEEN_S * run.bounds.patience
    seconds = held(step, 0.3, seen_s + 2)
    allowed = [Allowance.REMOVAL] if service.hang_is_seen else []
    allowed += [Allowance.END] if service.is_restarted else []
    with run.allow(service.name, *allowed):
        await stop()
        await trio.sleep(seconds)
        is_judged = seconds > seen_s and service.is_registered and service.hang_is_seen
        if is_judged and process.died > run.now() and run.passes(process.instance):
            run.find(Kind.SHOWN_WELL, f"{service.name} (pid {process.pid}) hung for {seconds:.1f} s and passed")
        if is_judged and service.is_restarted and process.died > run.now():
            run.find(Kind.HANG, f"{service.name} (pid {process.pid}) hung for {seconds:.1f} s and was not restarted")
        await resume()
        if service.is_registered:
            await until(lambda: run.passes(process.instance), seen_s)
    return seconds


async def _stop_part(run: RunContext, step: Step, name: str, *allowed: Allowance) -> str:
    process = await wait_part(run, name)
    seconds = held(step, 0.5, STOP_MOST_S)
    with run.allow("*", *allowed):
        run.stopped[name] = run.now()
        send_signal(run, process, signal.SIGSTOP)
        try:
            await trio.sleep(seconds)
        finally:
            del run.stopped[name]
            send_signal(run, process, signal.SIGCONT)
        await wait_registry(run, writes=True)
    return f"{process.pid} for {seconds:.1f} s"


@operation("stop.registry")
async def stop_registry(run: RunContext, step: Step) -> str:
    """Stop the registry for a while: it removes nothing that lived meanwhile."""
    return await _stop_part(run, step, "registry", Allowance.SILENCE, Allowance.STALE)


@operation("stop.redis")
async def stop_redis(run: RunContext, step: Step) -> str:
    """Stop Redis for a while: lookups go on, nothing is removed."""
    return await _stop_part(run, step, "redis", Allowance.STALE)


@operation("stop.guardian")
async def stop_guardian(run: RunContext, step: Step) -> str:
    """Stop the guardian for a while: nothing changes."""
    return await _stop_part(run, step, "guardian")


@operation("stop.supervisor")
async def stop_supervisor(run: RunContext, step: Step) -> str:
    """Stop the supervisor for a while: what it reports may lapse, and nothing is shown."""
    reported = [run.history.excuse(Allowance.REMOVAL, name, run.now()) for name in BY_NAME if BY_NAME[name].is_reported]
    target = await _stop_part(run, step, "supervisor", Allowance.NO_CONTROL, Allowance.STALE)
    run.end(reported)
    return target
