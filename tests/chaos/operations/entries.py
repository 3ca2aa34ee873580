"""Replace and remove entries of the project's services, with the right to do so: their owners put them right."""

from pathlib import Path

import trio

from tests.chaos.model import Allowance, Kind, Process
from tests.chaos.operations.table import NoTarget, choose, operation
from tests.chaos.registry_client import Refused, connect
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

RIGHTED_S = 6.0
"""Owners renew every 5 s."""
TOKEN_VARIABLE = b"MINIKUBE_REGISTRY_TOKEN="
RENEWS_BY_ID = "ttl"
"""Its program names no incarnation when it renews, so what has its token and its id is its own entry."""
THIEF = "127.0.0.1:9"


async def _choose_entry(run: RunContext, step: Step) -> Process:
    """Return a process whose entry passes. Raises `NoTarget`."""

    def find() -> list[Process]:
        found = [one for one in run.history.alive("main") if run.passes(one.instance) and one.service != RENEWS_BY_ID]
        return sorted(found, key=lambda process: (process.service, process.instance))

    await until(find, RIGHTED_S)
    return choose(step, find())


def _own_token(process: Process) -> str:
    """Return the token that the instance was given at its start: it may change its own entry. Raises `NoTarget`."""
    try:
        variables = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError as error:
        raise NoTarget(f"{process.service}: {error}") from None
    found = [value for value in variables if value.startswith(TOKEN_VARIABLE)]
    return choose(Step("token"), found).removeprefix(TOKEN_VARIABLE).decode()


async def _call(process: Process, step: Step, method: str, *params: object) -> None:
    try:
        async with await connect() as connection:
            await connection.call("Authenticate", _own_token(process))
            await connection.call(method, *params)
    except (OSError, trio.TooSlowError, Refused) as error:
        raise NoTarget(f"{step.op}: {error!r}") from None


async def _wait_right(run: RunContext, process: Process) -> None:
    """Wait until the entry is the process' own again; note when it never is."""

    def is_right() -> bool:
        entry = run.entries.get(process.instance)
        own = entry is not None and entry.instance.addr.Port == process.port and entry.passing_since > 0
        return own or process.died < run.now()

    if not await until(is_right, RIGHTED_S * run.bounds.patience):
        entry = run.entries.get(process.instance)
        found = f"{entry.instance.state} {entry.instance.addr}" if entry else "absent"
        run.find(Kind.LOST, f"the entry of {process.service} was not put right by its owner: it is {found}")


@operation("entry.replace")
async def replace(run: RunContext, step: Step) -> str:
    """Register an instance's id again with another address."""
    process = await _choose_entry(run, step)
    with run.allow(process.service, Allowance.REPLACED, Allowance.REMOVAL):
        entry = {
            "Name": process.service,
            "Addr": THIEF,
            "HealthCheck": "ttl:",
            "Lease": "60s",
            "Uuid": process.instance,
        }
        await _call(process, step, "Register", entry)
        await until(lambda: str(run.entries[process.instance].instance.addr) == THIEF, 1)
        await _wait_right(run, process)
    return f"{process.service} {process.instance}"


@operation("entry.deregister")
async def deregister(run: RunContext, step: Step) -> str:
    """Deregister an instance that lives."""
    process = await _choose_entry(run, step)
    with run.allow(process.service, Allowance.REMOVAL):
        await _call(process, step, "Deregister", process.instance)
        await until(lambda: process.instance not in run.entries, 1)
        await _wait_right(run, process)
    return f"{process.service} {process.instance}"
