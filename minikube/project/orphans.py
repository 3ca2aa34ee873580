"""What a crash of both guardian and supervisor left alive, found again (floor 3).

Every process that is started is recorded under `.minikube/` by identity (pid, start time, boot id). The next `up`, or `down`, ends
those that still are what was recorded, everything below them, and what carries the project's mark in its environment. It
refuses to touch a process whose identity does not match.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from minikube.linux import cgroup
from minikube.linux import processes as tree
from minikube.project_dir import PROCESSES_FILE, REDIS_SOCKET, write_json

MARK = "MINIKUBE_STATE"
"""In the environment of every process we start: the project's state directory."""


RUN_MARK = "MINIKUBE_RUN"
"""The same of what `minikube run` has become, which belongs to a terminal and not to a supervisor."""

PATIENCE_S = 5.0
TERM_PATIENCE_S = 2.0


def record(state: Path, processes: Iterable[tuple[int, int]]) -> None:
    """Writes down who is alive now, as pid and start time; never half."""
    # On a full disk the mark in the environment still finds them.
    with contextlib.suppress(OSError):
        write_json(state / PROCESSES_FILE, {"boot": tree.boot_id(), "processes": list(processes)})


def forget(state: Path) -> None:
    """Nothing of ours is alive any more."""
    (state / PROCESSES_FILE).unlink(missing_ok=True)


def end_leftovers(state: Path) -> list[int]:
    """Ends what an earlier supervisor of this directory left; returns the pids."""
    ended: dict[int, None] = {}
    until = time.monotonic() + PATIENCE_S
    while (left := find_leftovers(state)) and time.monotonic() < until:
        ended.update(dict.fromkeys(left))
        tree.kill_all(left)
        time.sleep(0.01)
    forget(state)
    cgroup.remove_all(state)
    return list(ended)


def tidy(state: Path) -> None:
    """Removes the way to a Redis that has ended: the link, the socket and the directory that it had to itself."""
    link = state / REDIS_SOCKET
    with contextlib.suppress(OSError):
        real = link.readlink()
        link.unlink()
        real.unlink(missing_ok=True)
        real.parent.rmdir()
        if real.parent.parent != state:
            real.parent.parent.rmdir()


def find_leftovers(state: Path) -> list[int]:
    """Who is alive of what an earlier supervisor of this directory started."""
    roots = {pid for pid, started in _recorded(state) if started and tree.start_time(pid) == started}
    mark = str(state)
    me = os.getpid()
    protected = {me, os.getppid()}
    sessions = set(roots)
    found = set(roots)
    for stat in tree.scan():
        if not stat.alive or stat.pid in protected:
            continue
        if stat.session in sessions or tree.environment(stat.pid).get(MARK) == mark:
            found.add(stat.pid)
    found.update(tree.descendants(found))
    return [pid for pid in found - protected if (one := tree.stat(pid)) is not None and one.alive]


def end_one_offs(state: Path) -> list[str]:
    """Ends what `minikube run` started in this directory and still runs: TERM, then KILL; what those are called."""
    named: dict[int, str] = {}
    for number, patience in ((signal.SIGTERM, TERM_PATIENCE_S), (signal.SIGKILL, PATIENCE_S)):
        until = time.monotonic() + patience
        sent: set[int] = set()
        while (left := _one_offs(state)) and time.monotonic() < until:
            for pid in left:
                if pid not in sent:
                    sent.add(pid)
                    named.setdefault(pid, tree.called(pid))
                    with contextlib.suppress(PermissionError):
                        tree.send(pid, number)
            time.sleep(0.01)
    return list(named.values())


def _one_offs(state: Path) -> list[int]:
    """Never those that we run in: somebody may type `down` in a shell that `run` has started."""
    stats = {one.pid: one for one in tree.scan()}
    ours, at = set(), os.getpid()
    while at in stats and at not in ours:
        ours.add(at)
        at = stats[at].parent
    return [
        pid
        for pid, one in stats.items()
        if one.alive and pid not in ours and tree.environment(pid).get(RUN_MARK) == str(state)
    ]


def _recorded(state: Path) -> list[tuple[int, int]]:
    try:
        found = json.loads((state / PROCESSES_FILE).read_text())
        if found["boot"] != tree.boot_id():
            return []
        return [(int(pid), int(started)) for pid, started in found["processes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
