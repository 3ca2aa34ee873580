"""What each instance's tree uses (floor 3): CPU and memory, from one walk of `/proc` every two seconds, in a thread."""

import os
import time

import trio

from minikube.control.state_store import StateStore
from minikube.linux import processes as tree
from minikube.model import Usage
from minikube.supervisor.runtime.process.process import ProcessTable

INTERVAL_S = 2.0


async def sample(household: ProcessTable, board: StateStore) -> None:
    """Puts usages on the board for ever."""
    before: dict[int, tuple[int, int]] = {}
    then = time.monotonic()
    while True:
        roots = household.roots
        try:
            owners, ticks, memory = await trio.to_thread.run_sync(_walk, roots, household.seen, os.getpid())
        except (OSError, RuntimeError):  # no descriptor, no thread: the next round may have one
            await trio.sleep(INTERVAL_S)
            continue
        now = time.monotonic()
        spent: dict[str, int] = dict.fromkeys(roots.values(), 0)
        for pid, (started, used) in ticks.items():
            old = before.get(pid)
            base = old[1] if old is not None and old[0] == started else used
            spent[owners[pid]] = spent.get(owners[pid], 0) + used - base
        seconds = max(now - then, 0.001)
        board.put_usage(
            Usage(owner, round(100 * count / tree.TICKS_A_SECOND / seconds, 1), memory.get(owner, 0))
            for owner, count in spent.items()
        )
        household.usage(owners)
        before, then = ticks, now
        await trio.sleep(INTERVAL_S)


def _walk(
    roots: dict[int, str], seen: dict[int, tuple[int, str]], me: int
) -> tuple[dict[int, str], dict[int, tuple[int, int]], dict[str, int]]:
    found = {stat.pid: stat for stat in tree.scan() if stat.alive}
    # An orphan in a session of its own still belongs to whom it was seen to belong to.
    known = {pid: owner for pid, (started, owner) in seen.items() if pid in found and found[pid].started == started}
    sessions = roots = known | roots
    owners: dict[int, str] = {}
    for pid in found:
        path: list[int] = []
        at = pid
        owner = ""
        while at in found and at != me and len(path) < 64:
            path.append(at)
            owner = owners.get(at) or roots.get(at) or sessions.get(found[at].session, "")
            if owner:
                break
            at = found[at].parent
        if owner:
            owners.update(dict.fromkeys(path, owner))
    ticks = {pid: (found[pid].started, found[pid].ticks) for pid in owners}
    memory: dict[str, int] = {}
    for pid, owner in owners.items():
        memory[owner] = memory.get(owner, 0) + found[pid].resident
    return owners, ticks, memory
