"""Measure CPU and memory of each instance's process tree, with one scan of `/proc` every two seconds."""

import os
import time

import trio

from minikube.control.state_store import StateStore
from minikube.linux import processes
from minikube.model import Usage
from minikube.supervisor.runtime.process.process_table import ProcessTable

INTERVAL_S = 2.0

MAX_DEPTH = 64
"""How many ancestors of a process are looked at: `/proc` is read while it changes, and may show a cycle."""


async def sample_usage(process_table: ProcessTable, store: StateStore) -> None:
    """Measure CPU and memory of all instances every `INTERVAL_S` and put them into the state store, until cancelled."""
    before: dict[int, tuple[int, int]] = {}
    last = time.monotonic()
    while True:
        roots = process_table.roots
        try:
            # In a thread: a walk over some thousand processes takes tens of milliseconds.
            owners, ticks, memory = await trio.to_thread.run_sync(_walk, roots, process_table.seen, os.getpid())
        except (OSError, RuntimeError):  # no descriptor or no thread is left: the next round may get one
            await trio.sleep(INTERVAL_S)
            continue
        now = time.monotonic()
        spent: dict[str, int] = dict.fromkeys(roots.values(), 0)
        for pid, (start_time, used) in ticks.items():
            old = before.get(pid)
            base = old[1] if old is not None and old[0] == start_time else used
            spent[owners[pid]] = spent.get(owners[pid], 0) + used - base
        seconds = max(now - last, 0.001)
        store.put_usage(
            Usage(owner, round(100 * count / processes.TICKS_PER_SECOND / seconds, 1), memory.get(owner, 0))
            for owner, count in spent.items()
        )
        process_table.note_owners(owners)
        before, last = ticks, now
        await trio.sleep(INTERVAL_S)


def _walk(
    roots: dict[int, str], seen: dict[int, tuple[int, str]], own_pid: int
) -> tuple[dict[int, str], dict[int, tuple[int, int]], dict[str, int]]:
    """Scan `/proc` once; return the owner by pid, the start time and CPU ticks by pid, and the memory (bytes) by owner.

    `roots` are the roots of the process trees (pid → owner), `seen` the results of earlier scans, as in `ProcessTable`.
    The search for the root of a process ends at the supervisor (`own_pid`).
    """
    found = {stat.pid: stat for stat in processes.scan_processes() if stat.is_alive}
    # An orphan in a session of its own still belongs to the owner that an earlier walk found for it.
    known = {pid: owner for pid, (start, owner) in seen.items() if pid in found and found[pid].start_time == start}
    sessions = roots = known | roots
    owners: dict[int, str] = {}
    for pid in found:
        path: list[int] = []
        ancestor = pid
        owner = ""
        while ancestor in found and ancestor != own_pid and len(path) < MAX_DEPTH:
            path.append(ancestor)
            owner = owners.get(ancestor) or roots.get(ancestor) or sessions.get(found[ancestor].session, "")
            if owner:
                break
            ancestor = found[ancestor].parent
        if owner:
            owners.update(dict.fromkeys(path, owner))
    ticks = {pid: (found[pid].start_time, found[pid].ticks) for pid in owners}
    memory: dict[str, int] = {}
    for pid, owner in owners.items():
        memory[owner] = memory.get(owner, 0) + found[pid].resident
    return owners, ticks, memory
