"""What the services rest on (floor 3): the embedded Redis and the registry as running parts, and when each is ready."""

import subprocess
from urllib.parse import unquote

import trio

from minikube.errors import StartError
from minikube.manifest import LogSpec
from minikube.supervisor.backing.parts import PartSpec, settled
from minikube.supervisor.backing.runner import PartRunner, wait_redis
from minikube.supervisor.context import RunContext
from minikube.supervisor.runtime.process.process import Process

READY_S = 30.0

LISTENING = "listening on "


async def start_redis(
    part: PartSpec, site: RunContext, nursery: trio.Nursery, begun: "subprocess.Popen[bytes]"
) -> PartRunner:
    """Takes over the embedded server that was begun; returns when it answers, or a stop is asked for."""
    site.redis_url = part.address
    path = unquote(part.address.removeprefix("unix://"))

    async def wait_ready(process: Process) -> str:
        await wait_redis(path)
        return site.redis_url

    output = site.logs.open("redis", "redis", LogSpec())
    runner = PartRunner(part, site.process_table, site.store, output, wait_ready)
    nursery.start_soon(runner.run, begun)
    await wait_ready_or_stop(site, runner)
    return runner


def registry_runner(part: PartSpec, site: RunContext) -> PartRunner:
    """Once it is ready, the site knows where it listens; started again, it listens there."""
    output = site.logs.open("registry", "registry", LogSpec())

    async def wait_ready(process: Process) -> str:
        listening = trio.Event()
        output.expect(LISTENING, listening.set)
        for line in output.last_lines:
            if LISTENING in line:
                listening.set()
        await listening.wait()
        where = next((line for line in reversed(output.last_lines) if LISTENING in line), "")
        site.registry_address = where.rpartition(LISTENING)[2].split()[0] if where else site.registry_address
        site.store.set_registry(site.registry_address)
        runner.spec = settled(runner.spec, site.registry_address)
        return site.registry_address

    runner = PartRunner(part, site.process_table, site.store, output, wait_ready)
    return runner


async def wait_ready_or_stop(site: RunContext, part: PartRunner) -> None:
    """Until it answers, or a stop is asked for. Raises `StartError` when it takes too long."""
    with trio.move_on_after(READY_S) as patience, site.stop_requested.cancels():
        await part.ready.wait()
    if patience.cancelled_caught:
        name = part.spec.name
        raise StartError(f"{name}: does not answer after {READY_S:g} s — see .minikube/logs/{name}.log")
