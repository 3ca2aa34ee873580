"""Orphans: processes of an earlier run that are alive because its supervisor and its guardian were killed.

The supervisor records every process that it starts, with pid, start time and boot id. The next `up` or `down` kills the
recorded processes, their descendants, and every process with the project's directory in its environment. It refuses to touch
a recorded pid that another process has now. Standard library only, because the guardian imports it.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from minikube.linux import cgroup, processes
from minikube.project.run_lookup import processes_of_other_runs
from minikube.project.run_name import is_of_other_directory
from minikube.project_dir import PROCESSES_FILE, origin, write_json

PROJECT_ENV = "MINIKUBE_STATE"
"""In the environment of every process of a run: the path of the project's `.minikube`."""

RUN_ENV = "MINIKUBE_RUN"
"""The same for a command of `minikube run`, which belongs to a terminal and not to the supervisor."""

KILL_TIMEOUT_S = 5.0
TERM_TIMEOUT_S = 2.0
RETRY_INTERVAL_S = 0.01


def record_processes(project_dir: Path, identities: Iterable[tuple[int, int]]) -> None:
    """Write down the pids and start times of all processes of the run."""
    # On a full disk they are still found by their environment.
    with contextlib.suppress(OSError):
        content = {"boot": processes.boot_id(), "processes": list(identities), **origin(project_dir)}
        write_json(project_dir / PROCESSES_FILE, content)


def forget_processes(project_dir: Path) -> None:
    """Remove the record: no process of the run is alive any more."""
    with contextlib.suppress(OSError):  # also where the directory is gone or cannot be written
        (project_dir / PROCESSES_FILE).unlink(missing_ok=True)


def kill_orphans(project_dir: Path) -> list[int]:
    """Kill the processes and remove the control groups of an earlier run; return the pids of the killed processes."""
    killed: dict[int, None] = {}
    end = time.monotonic() + KILL_TIMEOUT_S
    while (alive := find_orphans(project_dir)) and time.monotonic() < end:
        killed.update(dict.fromkeys(alive))
        processes.kill_all(alive)
        time.sleep(RETRY_INTERVAL_S)
    forget_processes(project_dir)
    cgroup.remove_all(project_dir)
    return list(killed)


def find_orphans(project_dir: Path) -> list[int]:
    """Return the pids of all living processes of an earlier run, without this process and its parent."""
    roots = {pid for pid, start in _recorded_processes(project_dir) if start and processes.start_time(pid) == start}
    protected = {os.getpid(), os.getppid()}
    sessions = set(roots)
    found = set(roots)
    for stat in processes.scan_processes():
        if not stat.is_alive or stat.pid in protected:
            continue
        if stat.session in sessions or _project_of(stat.pid) == str(project_dir):
            found.add(stat.pid)
    # Also descendants without the variable, for example those that were started with an empty environment.
    found.update(processes.descendants(found))
    if found:
        # A project whose directory was moved away still runs with the path that this project has now.
        protected.update(processes_of_other_runs(project_dir))
    # Some may have ended during the walk.
    return [pid for pid in found - protected if (last := processes.read_stat(pid)) is not None and last.is_alive]


def stop_one_off_commands(project_dir: Path) -> list[str]:
    """Stop the commands of `minikube run` in this project with TERM, then KILL; return them described for messages."""
    stopped: dict[int, str] = {}
    for number, timeout in ((signal.SIGTERM, TERM_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
        end = time.monotonic() + timeout
        sent: set[int] = set()
        while (alive := _one_off_commands(project_dir)) and time.monotonic() < end:
            for pid in alive:
                if pid not in sent:
                    sent.add(pid)
                    stopped.setdefault(pid, processes.describe(pid))
                    with contextlib.suppress(PermissionError):
                        processes.send_signal(pid, number)
            time.sleep(RETRY_INTERVAL_S)
    return list(stopped.values())


def _one_off_commands(project_dir: Path) -> list[int]:
    """Return the pids of the living commands of `minikube run` in this project."""
    stats = {stat.pid: stat for stat in processes.scan_processes()}
    # Without the ancestors of this process: `minikube down` may be typed in a shell that `minikube run` has started.
    ancestors, pid = set(), os.getpid()
    while pid in stats and pid not in ancestors:
        ancestors.add(pid)
        pid = stats[pid].parent
    return [
        pid
        for pid, stat in stats.items()
        if stat.is_alive and pid not in ancestors and processes.environment(pid).get(RUN_ENV) == str(project_dir)
    ]


def _recorded_processes(project_dir: Path) -> list[tuple[int, int]]:
    try:
        found = json.loads((project_dir / PROCESSES_FILE).read_text())
        # After a reboot all recorded pids and start times belong to other processes. A copied record names the original's.
        if found["boot"] != processes.boot_id() or is_of_other_directory(found, project_dir):
            return []
        recorded = [(int(pid), int(started)) for pid, started in found["processes"]]
        if not found.get("directory_id"):
            # An older version's record does not tell whether it was copied; the processes' environment does.
            recorded = [one for one in recorded if _project_of(one[0]) in ("", str(project_dir))]
        return recorded
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _project_of(pid: int) -> str:
    """Return the path of the `.minikube` whose run started a process; empty where its environment does not tell."""
    return processes.environment(pid).get(PROJECT_ENV, "")
