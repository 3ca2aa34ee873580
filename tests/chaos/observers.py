"""What looks at the project all the time: lookups, the watch, the shown state, the use of memory and descriptors."""

import os
import time
from contextlib import suppress
from pathlib import Path

import trio

import minikube
from minikube.errors import MinikubeError
from minikube.model import ChangeKind, CheckState, Instance, ProcessState
from tests.chaos import registry_client
from tests.chaos.model import Allowance, Got, Kind, Removal, Sustained
from tests.chaos.processes import follow_parts
from tests.chaos.project import BY_NAME, REGISTRY_PORT
from tests.chaos.run_context import Change, Entry, RunContext

LOOKUP_EVERY_S = 0.03
STATUS_EVERY_S = 0.25
STATUS_S = 6.0
USAGE_EVERY_S = 1.0
PART_SHOWN_S = 10.0
"""How long a part that hangs may be shown as well."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def look_up(run: RunContext) -> None:
    """Ask for every service and guest in turn, for ever; judge each address, and each silence."""
    names = [service.name for service in BY_NAME.values() if service.is_registered]
    silent_since = run.now()
    while True:
        try:
            async with await registry_client.connect() as connection:
                while True:
                    for name in (*names, *sorted({guest.service for guest in run.guests.values()})):
                        await _look_up_one(run, connection, name)
                        silent_since = run.now()
                        await trio.sleep(LOOKUP_EVERY_S)
        except (OSError, trio.TooSlowError, ValueError):
            now = run.now()
            if now - silent_since > run.bounds["serve"] and not run.history.is_excused(
                Allowance.SILENCE, "*", silent_since, now
            ):
                run.find(Kind.HANG, f"the registry did not answer for {now - silent_since:.1f} s")
                silent_since = now
            await trio.sleep(LOOKUP_EVERY_S)


async def _look_up_one(run: RunContext, connection: registry_client.RegistryConnection, name: str) -> None:
    sent = run.now()
    with suppress(registry_client.Refused):
        reply = await connection.call("Get", name, seconds=run.bounds["serve"])
        run.history.pending.append(Got(name, int(reply["Port"]), sent, run.now()))
    run.lookups += 1


async def watch(run: RunContext) -> None:
    """Follow all changes with the SDK, and judge each removal."""
    async with minikube.watch("*", address=f"127.0.0.1:{REGISTRY_PORT}") as updates:
        async for update in updates:
            if isinstance(update, minikube.WatchSnapshot):
                present = {instance.uuid: instance for instance in update.instances}
                for gone in run.entries.keys() - present.keys():
                    on_change(run, run.entries[gone].instance, is_gone=True, detail="missing in a snapshot")
                for instance in present.values():
                    on_change(run, instance, is_gone=False, detail="in a snapshot")
            else:
                on_change(run, update.instance, is_gone=update.kind is ChangeKind.GONE)


def on_change(run: RunContext, instance: Instance, *, is_gone: bool, detail: str = "") -> None:
    """Note a change of one entry; a passing one that no longer does is judged later."""
    now = run.now()
    known = run.entries.get(instance.uuid)
    passes = not is_gone and instance.state is CheckState.PASSING
    run.changes.append(Change(now, instance.uuid, passes))
    if known is not None and known.passing_since and not passes:
        state = "gone" if is_gone else f"{instance.state} {instance.output[:80]}"
        run.history.pending.append(
            Removal(instance.name, instance.uuid, known.passing_since, now, f"{state} {detail}".strip())
        )
    if is_gone:
        run.entries.pop(instance.uuid, None)
    else:
        same = known is not None and known.passing_since and known.instance.incarnation == instance.incarnation
        since = known.passing_since if same and known is not None else now
        run.entries[instance.uuid] = Entry(instance, since if passes else 0.0)


async def read_status(run: RunContext) -> None:
    """Read the shown state again and again; compare what is shown as well with what is."""
    instances, parts = Sustained(), Sustained()
    while True:
        try:
            with trio.fail_after(STATUS_S):
                found = await trio.to_thread.run_sync(run.project.snapshot, abandon_on_cancel=True)
        except (MinikubeError, OSError, trio.TooSlowError):
            run.snapshot = None
        else:
            run.snapshot, run.snapshot_at = found, run.now()
        follow_parts(run)
        for text in instances.too_long(_wrongly_well(run), run.now(), run.bounds["shown"]):
            run.find(Kind.SHOWN_WELL, text)
        for text in parts.too_long(_hung_and_well(run), run.now(), PART_SHOWN_S * run.bounds.patience):
            run.find(Kind.SHOWN_WELL, text)
        await trio.sleep(STATUS_EVERY_S)


def _wrongly_well(run: RunContext) -> list[str]:
    """Return the instances that are shown as well although their process is dead or the registry does not have them."""
    now = run.now()
    if run.snapshot is None or run.history.is_excused(Allowance.NO_CONTROL, "*", now, now):
        return []
    wrong = []
    living = {process.pid for process in run.history.alive("main")}
    for row in run.snapshot.instances:
        service = BY_NAME.get(row.service)
        if service is None or service.is_task or row.state is not ProcessState.RUNNING:
            continue
        if row.pid not in living:
            wrong.append(f"{row.name} is shown as running with pid {row.pid}, which is dead")
        if row.check is CheckState.PASSING and service.is_registered:
            entry = run.entries.get(row.id)
            if entry is None or not entry.passing_since:
                state = entry.instance.state if entry else "absent"
                wrong.append(f"{row.name} is shown as passing; in the registry it is {state}")
    return wrong


def _hung_and_well(run: RunContext) -> list[str]:
    """Return the parts that are shown as well although they are stopped."""
    if run.snapshot is None:
        return []
    well = {part.name for part in run.snapshot.parts if part.state is ProcessState.RUNNING and not part.detail}
    return [f"{name} hangs and is shown as well" for name in run.stopped if name in well]


async def measure_usage(run: RunContext) -> None:
    """Note memory and descriptors of each part."""
    while True:
        for name in run.parts:
            if (process := run.part(name)) is not None:
                with suppress(OSError, ValueError, IndexError):
                    run.usage.setdefault((name, process.pid), []).append(_measure(process.pid))
        await trio.sleep(USAGE_EVERY_S)


def _measure(pid: int) -> tuple[float, int, int]:
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return time.monotonic(), resident, len(os.listdir(f"/proc/{pid}/fd"))


async def judge(run: RunContext) -> None:
    """Judge the observations once they are old enough."""
    while True:
        for finding in run.history.judge(run.now()):
            run.find(finding.kind, finding.text, finding.at)
        await trio.sleep(0.5)
