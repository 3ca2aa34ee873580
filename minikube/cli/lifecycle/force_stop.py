"""End a project without its control API: a supervisor that hangs, that is still starting or ending already, and leftovers.

It identifies a process before it ends it: by the recorded start time and boot, or by the lock file that it has open.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import print_message
from minikube.cli.lifecycle.process_exit import ProcessExitWait
from minikube.errors import MinikubeError, NothingRunning, Unavailable
from minikube.project_dir import LOCK_FILE, SUPERVISOR_FILE, project_dir, read_supervisor_record

if TYPE_CHECKING:
    from minikube.engine.leftovers import EngineLeftovers

GUARDIAN_TIMEOUT_S = 20.0
"""For a guardian that ends what a killed supervisor left: it kills for up to 10 s and asks an engine for up to 10 s."""

LOCK_POLL_S = 0.025


def kill_supervisor(manifest: Path) -> int:
    """Kill a supervisor that does not answer, and its guardian if that hangs too; return the exit code.

    The guardian, or this command in its place, kills the remaining processes. Raises Unavailable when the recorded pid
    is of another process by now.
    """
    from minikube.linux import processes

    record = read_supervisor_record(project_dir(manifest))
    pid, guardian = (record.pid, record.guardian_pid) if record else (0, 0)
    if record is None or record.boot_id != processes.boot_id() or record.start_time != processes.start_time(pid):
        raise Unavailable(f"pid {pid} is not the supervisor that was recorded — no process was ended")
    with ProcessExitWait(pid) as supervisor_exit, ProcessExitWait(guardian) as guardian_exit:
        guardian_children = processes.children(guardian)
        processes.kill_all([pid])
        print_message(f"killed the supervisor (pid {pid}), which did not answer")
        supervisor_exit.wait(GUARDIAN_TIMEOUT_S)
        # The guardian's pid was recorded without a start time: that the supervisor is its child identifies it.
        if not guardian_exit.wait(GUARDIAN_TIMEOUT_S) and pid in guardian_children:
            processes.kill_all([guardian])
            guardian_exit.wait(GUARDIAN_TIMEOUT_S)
    with contextlib.suppress(NothingRunning):
        return stop_without_endpoint(manifest, True, NothingRunning(""))
    return report_stopped(manifest)


def stop_without_endpoint(manifest: Path, now: bool, nothing_running: NothingRunning) -> int:
    """Stop a supervisor whose control API cannot be reached, because it is starting or ending; return the exit code.

    Then kill what an earlier run has left. `now`: with KILL, not TERM. Raises the given `nothing_running` where there
    is no supervisor and nothing is left, and Unavailable when the supervisor does not end.
    """
    import fcntl
    import signal

    from minikube.linux import processes

    directory = project_dir(manifest)
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        raise nothing_running from None
    deadline = time.monotonic() + GUARDIAN_TIMEOUT_S
    signalled = 0
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                pid = _lock_holder(lock, directory)
                if pid and pid != signalled:
                    signalled = pid
                    processes.send_signal(pid, signal.SIGKILL if now else signal.SIGTERM)
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{directory.parent}: pid {pid or '?'} does not end — `minikube down --now` kills it"
                    ) from None
                time.sleep(LOCK_POLL_S)
        ended, remaining = _end_leftovers(directory)
    finally:
        os.close(lock)
    if remaining is not None:
        if ended:
            click.echo(ended)
        raise MinikubeError(str(remaining))
    if not ended and not signalled:
        raise nothing_running
    click.echo(ended or "stopped")
    return 0


def report_stopped(manifest: Path) -> int:
    """Print that the project has stopped, or which containers could not be removed; return the exit code, 0 or 1."""
    from minikube.engine.leftovers import read_engine_record

    found = read_engine_record(project_dir(manifest))
    if found is not None:
        print_message(f"stopped, but {found[1]}")
        return 1
    click.echo("stopped")
    return 0


def _lock_holder(lock: int, directory: Path) -> int:
    """Return the pid of the supervisor that holds the lock; 0 where it is dead or unknown.

    `lock` is the open lock file in `directory`.
    """
    text = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
    if not text.isdecimal():
        return 0
    # The pid in the file may have been reused: only a process that has the file open is the holder.
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{text}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{text}/fd/{descriptor}", directory / LOCK_FILE):
                    return int(text)
    return 0


def _end_leftovers(directory: Path) -> tuple[str, EngineLeftovers | None]:
    """Kill processes and remove containers that an earlier run has left in the project.

    Return a text that names them (empty for none), and the containers that could not be removed, None for none.
    """
    from minikube.engine.leftovers import remove_leftovers
    from minikube.linux import processes
    from minikube.project import orphans

    names = {pid: processes.describe(pid) for pid in orphans.find_orphans(directory)}
    pids = orphans.kill_orphans(directory)
    containers, remaining = remove_leftovers(directory)
    (directory / SUPERVISOR_FILE).unlink(missing_ok=True)
    orphans.remove_redis_socket(directory)
    ended = [names.get(pid) or f"pid {pid}" for pid in pids] + [f"container {name}" for name in containers]
    return f"ended what an earlier run left: {', '.join(ended)}" if ended else "", remaining
