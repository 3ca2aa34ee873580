"""Floods of lines, connections and bytes that are no calls; descriptors that run out."""

import resource
import signal
import sys
from pathlib import Path

import trio

from tests.chaos.lifecycle import wait_registry
from tests.chaos.model import Allowance
from tests.chaos.operations.table import choose, choose_process, held, operation, sleep_held, wait_part
from tests.chaos.processes import send_signal
from tests.chaos.project import CONTROL_PORT, REGISTRY_PORT, WRITER
from tests.chaos.run_context import RunContext
from tests.chaos.script import Step

FLOOD = Path(__file__).resolve().parents[1] / "flood.py"
STANDARD_STREAMS = 3
PORTS = (REGISTRY_PORT, CONTROL_PORT)


@operation("flood.log")
async def flood_log(run: RunContext, step: Step) -> str:
    """Let a service write 20,000 lines at once."""
    process = await choose_process(run, step, "main", services=(WRITER,))
    send_signal(run, process, signal.SIGUSR1)
    return f"{process.service} {process.pid}"


async def _flood(run: RunContext, step: Step, way: str) -> str:
    """Run the hostile client for a while; nothing is allowed meanwhile."""
    port, seconds = choose(step, PORTS), held(step, 0.5, 5)
    await trio.run_process([sys.executable, str(FLOOD), way, str(port), f"{seconds:.2f}"], check=False)
    return f"port {port} for {seconds:.1f} s"


@operation("flood.connections")
async def flood_connections(run: RunContext, step: Step) -> str:
    """Let another user take all connections of a port."""
    return await _flood(run, step, "connections")


@operation("flood.garbage")
async def flood_garbage(run: RunContext, step: Step) -> str:
    """Let another user send what is no call."""
    return await _flood(run, step, "garbage")


@operation("flood.calls")
async def flood_calls(run: RunContext, step: Step) -> str:
    """Let another user send calls without reading."""
    return await _flood(run, step, "calls")


async def _no_descriptors(run: RunContext, step: Step, part: str, *allowed: Allowance) -> str:
    """Let a part have no more descriptors than it has, for a while."""
    process = await wait_part(run, part)
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    with run.allow("*", *allowed):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (STANDARD_STREAMS, before[1]))
        try:
            await sleep_held(step, 0.5, 6)
        finally:
            if process.died > run.now():
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        await wait_registry(run, writes=True)
    return f"{part} {process.pid}"


@operation("descriptors.registry")
async def registry_descriptors(run: RunContext, step: Step) -> str:
    """Let the registry have no descriptors left: it removes nothing, and takes connections again afterwards."""
    return await _no_descriptors(run, step, "registry", Allowance.SILENCE, Allowance.STALE)


@operation("descriptors.supervisor")
async def supervisor_descriptors(run: RunContext, step: Step) -> str:
    """Let the supervisor have no descriptors left while an instance dies: it is started again afterwards."""
    process = await choose_process(run, step, "main")
    send_signal(run, process, signal.SIGKILL)
    target = await _no_descriptors(run, step, "supervisor", Allowance.NO_CONTROL, Allowance.LOST_LINES)
    return f"{target}, {process.service} killed"
