"""End a project without its control API: a supervisor that hangs, that is still starting or ending already, and leftovers.

The kernel tells which process the supervisor is (`project.run_lookup`): a pid that stands in a file alone is never signalled.
"""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import print_message
from minikube.cli.lifecycle.process_exit import ProcessExitWait
from minikube.errors import MinikubeError, NothingRunning, Unavailable
from minikube.project.run_lookup import find_run
from minikube.project_dir import SUPERVISOR_FILE, project_dir

if TYPE_CHECKING:
    from minikube.engine.leftovers import EngineLeftovers

GUARDIAN_TIMEOUT_S = 20.0
"""For a guardian that ends what a killed supervisor left: it kills for up to 10 s and asks an engine for up to 10 s."""

CLAIM_POLL_S = 0.025


def kill_supervisor(manifest: Path) -> int:
    """Kill a supervisor that does not answer, and its guardian if that hangs too; return the exit code.

    The guardian, or this command in its place, kills the remaining processes. Raises Unavailable when no supervisor runs the
    project by now.
    """
    from minikube.linux import processes

    run = find_run(project_dir(manifest))
    if run is None or run.pid <= 0:
        raise Unavailable(f"{manifest}: no supervisor runs this project by now — no process was ended")
    guardian = run.pids[-1] if len(run.pids) > 1 else 0
    with ProcessExitWait(run.pid) as supervisor_exit, ProcessExitWait(guardian) as guardian_exit:
        guardian_children = processes.children(guardian)
        processes.kill_all([run.pid])
        print_message(f"killed the supervisor (pid {run.pid}), which did not answer")
        supervisor_exit.wait(GUARDIAN_TIMEOUT_S)
        # The guardian's pid was recorded without a start time: that the supervisor is its child identifies it.
        if not guardian_exit.wait(GUARDIAN_TIMEOUT_S) and run.pid in guardian_children:
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
    from minikube.linux import processes
    from minikube.project.run_claim import RunClaim

    directory = project_dir(manifest)
    try:
        claim = RunClaim(directory, create=False)
    except OSError:
        raise nothing_running from None
    deadline = time.monotonic() + GUARDIAN_TIMEOUT_S
    signalled = 0
    try:
        # Taken, so that no `up` starts meanwhile what would be killed as a leftover.
        while not claim.try_take():
            run = find_run(directory)
            if run is not None and run.pid not in (0, signalled):
                signalled = run.pid
                processes.send_signal(run.pid, signal.SIGKILL if now else signal.SIGTERM)
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{directory.parent}: pid {signalled or '?'} does not end — `minikube down --now` kills it"
                )
            time.sleep(CLAIM_POLL_S)
        ended, remaining = _end_leftovers(directory)
    finally:
        claim.close()
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


def _end_leftovers(directory: Path) -> tuple[str, EngineLeftovers | None]:
    """Kill processes and remove containers that an earlier run has left in the project.

    Return a text that names them (empty for none), and the containers that could not be removed, None for none.
    """
    from minikube.engine.leftovers import remove_leftovers
    from minikube.linux import processes
    from minikube.project import orphans
    from minikube.project.redis_socket import remove_redis_socket

    names = {pid: processes.describe(pid) for pid in orphans.find_orphans(directory)}
    pids = orphans.kill_orphans(directory)
    containers, remaining = remove_leftovers(directory)
    with contextlib.suppress(OSError):
        (directory / SUPERVISOR_FILE).unlink(missing_ok=True)
    remove_redis_socket(directory)
    ended = [names.get(pid) or f"pid {pid}" for pid in pids] + [f"container {name}" for name in containers]
    return f"ended what an earlier run left: {', '.join(ended)}" if ended else "", remaining
