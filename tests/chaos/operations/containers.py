"""End, pause and disconnect containers with the engine's own command; kill and stop the engine. Left out where there is none."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import trio

from tests.chaos.engine import Engine, EngineFailed, missing
from tests.chaos.lifecycle import ALL, start, wait_registry
from tests.chaos.model import Allowance, Kind, Process
from tests.chaos.operations.processes import hang
from tests.chaos.operations.table import NoTarget, choose_process, held, operation, sleep_held, wait_part
from tests.chaos.processes import send_signal
from tests.chaos.project import CONTAINERS, NETWORKED
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

WEIGHT = 0 if missing() else 1
ENDED_S = 5.0
NETWORK_FORM = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
STOP_MOST_S = 8.0


class Target(NamedTuple):
    """A container, its first process, and the engine that has it."""

    engine: Engine
    container: str
    process: Process

    def __str__(self) -> str:
        return f"{self.container} {self.process.pid}"


def _engine(run: RunContext) -> Engine:
    """Return the engine. Raises `NoTarget`."""
    if run.engine is None:
        raise NoTarget("there is no container engine")
    return run.engine


async def _choose_container(run: RunContext, step: Step, *services: str) -> Target:
    """Return a running container. Raises `NoTarget`."""
    engine = _engine(run)
    process = await choose_process(run, step, "main", services=services or CONTAINERS)
    label = f"label=mini-kube-discovery.instance={process.instance}"
    name = await engine.run("ps", "--filter", label, "--format", "{{.Names}}")
    if not name or process.died < run.now():
        raise NoTarget(f"{process.service} {process.instance} has no running container")
    return Target(engine, name, process)


@contextmanager
def _allow(run: RunContext, *what: Allowance) -> Iterator[None]:
    """Allow these of all containers."""
    with ExitStack() as stack:
        for name in CONTAINERS:
            stack.enter_context(run.allow(name, *what))
        yield


async def _wait_well(run: RunContext, what: str) -> None:
    """Wait until each service of containers has all its instances, and each passes; note when that never is."""

    def is_well() -> bool:
        alive = [one for one in run.history.alive("main") if one.service in CONTAINERS]
        counts = [sum(one.service == name for one in alive) == run.project.replicas[name] for name in CONTAINERS]
        return all(counts) and all(run.passes(one.instance) for one in alive)

    if not await until(is_well, run.bounds["settle"]):
        run.find(Kind.HANG, f"containers did not pass again {run.bounds['settle']:g} s after {what}")


async def _end(run: RunContext, step: Step, *arguments: str) -> str:
    """End a container with a command of the engine: its end is noticed, and another one started."""
    target = await _choose_container(run, step)
    with run.allow(target.process.service, Allowance.END):
        await target.engine.run(*arguments, target.container)
        if not await until(lambda: target.process.died < run.now(), ENDED_S):
            run.find(Kind.FAILED, f"`docker {arguments[0]} {target.container}` did not end pid {target.process.pid}")
    return str(target)


@operation("container.kill-process", WEIGHT)
async def kill_process(run: RunContext, step: Step) -> str:
    """Kill the first process of a container."""
    target = await _choose_container(run, step)
    send_signal(run, target.process, signal.SIGKILL)
    return str(target)


@operation("container.kill", WEIGHT)
async def kill(run: RunContext, step: Step) -> str:
    """End a container by `docker kill`."""
    return await _end(run, step, "kill")


@operation("container.stop", WEIGHT)
async def stop(run: RunContext, step: Step) -> str:
    """End a container by `docker stop`: it ends with 0, and is started again all the same."""
    return await _end(run, step, "stop", "--time", "2")


@operation("container.remove", WEIGHT)
async def remove(run: RunContext, step: Step) -> str:
    """End a container by `docker rm --force`."""
    return await _end(run, step, "rm", "--force")


@operation("container.pause", WEIGHT)
async def pause(run: RunContext, step: Step) -> str:
    """Pause a container for a while: its check fails in time; the engine restarts nothing."""
    target = await _choose_container(run, step)

    async def resume() -> None:
        if target.process.died > run.now():
            await target.engine.run("unpause", target.container)

    async def stop() -> None:
        await target.engine.run("pause", target.container)

    seconds = await hang(run, step, target.process, stop, resume)
    return f"{target} for {seconds:.1f} s"


@operation("container.disconnect", WEIGHT)
async def disconnect(run: RunContext, step: Step) -> str:
    """Take the project's network from a container, sometimes remove the network, too: its check fails, which restarts it."""
    target = await _choose_container(run, step, NETWORKED)
    network = await target.engine.run("inspect", "--format", NETWORK_FORM, target.container)
    with run.allow(NETWORKED, Allowance.REMOVAL, Allowance.END):
        await target.engine.run("network", "disconnect", "--force", network, target.container)
        if is_removed := bool(step.choice % 2):
            await target.engine.run("network", "rm", network)
        if not await until(lambda: target.process.died < run.now(), run.bounds["settle"]):
            run.find(Kind.SHOWN_WELL, f"{target} has no network, and was not restarted")
        await _wait_well(run, "a container had lost its network")
    return f"{target} from {network}{', which was removed' if is_removed else ''}"


@operation("engine.kill", WEIGHT)
async def kill_engine(run: RunContext, step: Step) -> str:
    """Kill the engine, and start it again after a while: it ends all containers, which are started again."""
    engine = _engine(run)
    pid = engine.pid
    with _allow(run, Allowance.END, Allowance.REMOVAL):
        await engine.kill()
        await sleep_held(step, 0.2, 6)
        try:
            await engine.start()
        except EngineFailed as error:
            run.find(Kind.FAILED, str(error))
        await _wait_well(run, "the engine was killed")
    return str(pid)


@operation("engine.stop", WEIGHT)
async def stop_engine(run: RunContext, step: Step) -> str:
    """Stop the engine's process for a while, sometimes kill a container meanwhile: nothing else ends, and that end is pushed."""
    target = await _choose_container(run, step)
    seconds = held(step, 0.5, STOP_MOST_S)
    target.engine.suspend()
    try:
        if is_killed := bool(step.choice % 2):
            send_signal(run, target.process, signal.SIGKILL)
        await trio.sleep(seconds)
    finally:
        target.engine.resume()
    await _wait_well(run, "the engine went on")
    return f"{target.engine.pid} for {seconds:.1f} s{f', {target} killed' if is_killed else ''}"


@operation("engine.stop-at-end", WEIGHT)
async def end_without_engine(run: RunContext, step: Step) -> str:
    """Kill the supervisor while the engine hangs or is dead: no process lives on, and the next start removes the containers."""
    engine, supervisor = _engine(run), await wait_part(run, "supervisor")
    await _wait_well(run, "nothing")
    before = set((await engine.run("ps", "--all", "--quiet")).split())
    excuses = run.excuse("*", *ALL)
    is_dead = bool(step.choice % 2)
    if is_dead:
        await engine.kill()
    else:
        engine.suspend()
    try:
        send_signal(run, supervisor, signal.SIGKILL)
        if not await until(lambda: not run.history.alive("main"), run.bounds["survive"]):
            left = ", ".join(f"{one.service} (pid {one.pid})" for one in run.history.alive("main"))
            run.find(Kind.SURVIVOR, f"alive after the kill of the supervisor without the engine: {left}")
    finally:
        if is_dead:
            await engine.start()
        else:
            engine.resume()
    await start(run)
    await wait_registry(run, writes=True)
    await _wait_well(run, "a start after the engine was away")
    if old := before & set((await engine.run("ps", "--all", "--quiet")).split()):
        run.find(Kind.SURVIVOR, f"the engine has containers of an earlier run: {', '.join(old)}")
    run.end(excuses)
    return f"{supervisor.pid}, {len(before)} containers, the engine {'killed' if is_dead else 'stopped'}"
