"""`down`: stop a whole project and wait until all its processes have ended."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import print_message, running_manifest
from minikube.cli.exit_codes import INTERRUPTED, TIMED_OUT
from minikube.cli.lifecycle.force_stop import kill_supervisor, report_stopped, stop_without_endpoint
from minikube.cli.lifecycle.process_exit import ProcessExitWait
from minikube.cli.lifecycle.stop_progress import POLL_S, REPORT_INTERVAL_S, read_stop_progress
from minikube.cli.options import existing_manifest_argument, pass_options, timeout_option
from minikube.errors import MinikubeError, NothingRunning, Unavailable
from minikube.project.run_lookup import find_run
from minikube.project_dir import project_dir

if TYPE_CHECKING:
    from minikube.control.client.blocking import Endpoint


@dataclass(frozen=True)
class DownOptions:
    """The arguments and options of `down`."""

    manifest: tuple[str, ...]
    now: bool
    timeout: float | None
    """In seconds; None: wait without a limit."""


@click.command()
@existing_manifest_argument
@click.option("--now", is_flag=True, help="Kill all processes at once, in no order; also a supervisor that hangs.")
@timeout_option(default=None, help="Stop waiting after this time, with exit code 124.  [default: no limit]")
@pass_options(DownOptions)
def down_command(options: DownOptions) -> int:
    """Stop all services in reverse order, and wait until nothing of the project is running.

    Ctrl-C while waiting kills what is left. Commands that `minikube run` has started are ended too, and so are processes
    that an earlier run left when its supervisor was killed.
    """
    from minikube.control.client.blocking import ControlClient
    from minikube.control.client.endpoint import check_owner, endpoint_of, nothing_running

    path = running_manifest(options.manifest)
    directory = project_dir(path)
    run = find_run(directory)
    if run is not None:
        check_owner(run, directory)
    # First, because these commands may use services that are stopped next.
    ended_commands = _end_one_off_commands(path)
    with contextlib.ExitStack() as stack:
        try:
            if run is None or run.record is None:  # none, or one that is starting: it is stopped by a signal
                raise nothing_running(path, directory)
            endpoint = endpoint_of(run, directory)
            exits = [stack.enter_context(ProcessExitWait(pid)) for pid in run.pids]
            with ControlClient(endpoint) as client:
                client.shutdown(options.now)
        except NothingRunning as error:
            try:
                return stop_without_endpoint(path, options.now, error)
            except NothingRunning:
                if not ended_commands:
                    raise
                click.echo("stopped")
                return 0
        except Unavailable:
            if not options.now:
                raise
            return kill_supervisor(path)
        return _wait_stopped(path, exits, endpoint, options.timeout)


def _end_one_off_commands(manifest: Path) -> bool:
    """End the commands that `minikube run` has started for the project; return whether there were any."""
    from minikube.project.orphans import stop_one_off_commands

    ended = stop_one_off_commands(project_dir(manifest))
    if ended:
        print_message(f"ended commands of `minikube run`: {', '.join(ended)}")
    return bool(ended)


def _has_ended(exits: list[ProcessExitWait], manifest: Path) -> bool:
    """Wait `POLL_S` seconds for each of the processes at most; return whether all have ended.

    Without processes, which are in a pid namespace that cannot be seen from here, the name of the run in the kernel tells it.
    """
    if exits:
        return all(process_exit.wait(POLL_S) for process_exit in exits)
    time.sleep(POLL_S)
    return find_run(project_dir(manifest)) is None


def _wait_stopped(manifest: Path, exits: list[ProcessExitWait], endpoint: Endpoint, timeout: float | None) -> int:
    """Wait until the project's processes (`exits`) have ended; return the exit code.

    While waiting, print what the stop waits for. The code is TIMED_OUT after `timeout` seconds, and INTERRUPTED after Ctrl-C.
    """
    from minikube.control.client.blocking import ControlClient

    begin = reported = time.monotonic()
    interrupted = False
    while True:
        try:
            if _has_ended(exits, manifest):
                return report_stopped(manifest) or (INTERRUPTED if interrupted else 0)
        except KeyboardInterrupt:
            interrupted = True
            print_message("stopping at once")
            with contextlib.suppress(MinikubeError), ControlClient(endpoint) as client:
                client.shutdown(True)
        if timeout is not None and time.monotonic() - begin > timeout:
            print_message(f"still stopping after {timeout:g}s — `minikube down --now` kills what is left")
            return TIMED_OUT
        if time.monotonic() - reported >= REPORT_INTERVAL_S:
            reported = time.monotonic()
            for line in read_stop_progress(endpoint):
                print_message(line)
