"""Stopping a whole project (floor 4): `down`, and who holds a stop. It waits for processes to end, not for words."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import duration, manifest_argument, manifest_path, note
from minikube.errors import MinikubeError, NothingRunning, Unavailable
from minikube.project_dir import LOCK_FILE

if TYPE_CHECKING:
    from minikube.control.client.blocking import Endpoint
    from minikube.engine.leftovers import EngineLeftovers
    from minikube.model import Snapshot

TELL_EVERY_S = 2.0
"""How often a stop that is held says who holds it."""

STEP_S = 0.25
"""How long one wait for the supervisor's end takes; what it tells on the way is looked at in between."""


END_PATIENCE_S = 20.0
"""For a guardian to end what a killed supervisor left: it gives up after 10 s of killing and 10 s of asking an engine."""


@click.command()
@manifest_argument
@click.option("--now", is_flag=True, help="At once: no time-outs, no order; ends a supervisor that hangs, too.")
@click.option("--timeout", metavar="DURATION", default="", help="Give up waiting after that long (exit code 124).")
def down_command(manifest: str | None, now: bool, timeout: str) -> int:
    """Stop everything in reverse order, and wait until nothing is left. Ctrl-C while waiting stops at once.

    What starts just now is ended as well, and what a run left alive whose supervisor was killed.
    """
    from minikube.control.client.blocking import ControlClient, find_supervisor

    patience = duration("--timeout", timeout) if timeout else None
    path = manifest_path(manifest)
    one_offs = _end_one_offs(path)
    with contextlib.ExitStack() as stack:
        try:
            endpoint = find_supervisor(path)
            departures = [stack.enter_context(ProcessExitWait(pid)) for pid in recorded_pids(path)]
            with ControlClient(endpoint) as client:
                client.shutdown(now)
        except NothingRunning as nothing:
            try:
                return _end_unannounced(path, now, nothing)
            except NothingRunning:
                if not one_offs:
                    raise
                click.echo("stopped")
                return 0
        except Unavailable:
            if not now:
                raise
            return _kill(path)
        return _wait_departed(path, departures, endpoint, patience)


def _end_one_offs(path: Path) -> bool:
    """First of all, as those may use what is stopped next."""
    from minikube.project.orphans import stop_one_off_commands
    from minikube.project_dir import project_dir

    ended = stop_one_off_commands(project_dir(path))
    if ended:
        note(f"ended what `minikube run` had started: {', '.join(ended)}")
    return bool(ended)


def _tell_stopped(path: Path) -> int:
    """Says that all has ended, or what is left at an engine that did not answer; the exit code."""
    from minikube.engine.leftovers import read_engine_record
    from minikube.project_dir import project_dir

    found = read_engine_record(project_dir(path))
    if found is not None:
        note(f"stopped, but {found[1]}")
        return 1
    click.echo("stopped")
    return 0


def _wait_departed(path: Path, departures: list[ProcessExitWait], endpoint: Endpoint, patience: float | None) -> int:
    from minikube.cli.commands.wait import TIMED_OUT
    from minikube.control.client.blocking import ControlClient

    begun = told = time.monotonic()
    while True:
        try:
            if all(departure.wait(STEP_S) for departure in departures):
                return _tell_stopped(path)
        except KeyboardInterrupt:
            note("stopping at once")
            with contextlib.suppress(MinikubeError), ControlClient(endpoint) as client:
                client.shutdown(True)
        if patience is not None and time.monotonic() - begun > patience:
            note(f"still stopping after {patience:g}s")
            return TIMED_OUT
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            for line in holders(endpoint):
                note(line)


def _kill(path: Path) -> int:
    """Ends a supervisor that hangs, by its recorded identity; its guardian ends the rest, and where that hangs too, we do."""
    from minikube.linux import processes
    from minikube.project_dir import project_dir, read_supervisor_record

    record = read_supervisor_record(project_dir(path))
    pid, guardian = (record.pid, record.guardian_pid) if record else (0, 0)
    if record is None or record.boot_id != processes.boot_id() or record.start_time != processes.start_time(pid):
        raise Unavailable(f"pid {pid} is not the supervisor that was recorded — nothing was ended")
    with ProcessExitWait(pid) as supervisor, ProcessExitWait(guardian) as rest:
        ours = processes.children(guardian)
        processes.kill_all([pid])
        note(f"killed the supervisor (pid {pid}), which did not answer")
        supervisor.wait(END_PATIENCE_S)
        if not rest.wait(END_PATIENCE_S) and pid in ours:
            processes.kill_all([guardian])
            rest.wait(END_PATIENCE_S)
    with contextlib.suppress(NothingRunning):
        return _end_unannounced(path, True, NothingRunning(""))
    return _tell_stopped(path)


def _end_unannounced(path: Path, now: bool, nothing: NothingRunning) -> int:
    """Ends who has the directory's lock but has not told where it listens: it starts, or ends. Where nobody has it, what
    an earlier run left. Raises `nothing` when there is neither."""
    import fcntl
    import signal

    from minikube.linux import processes
    from minikube.project_dir import project_dir

    state = project_dir(path)
    try:
        lock = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        raise nothing from None
    until = time.monotonic() + END_PATIENCE_S
    asked = 0
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                pid = _holder(lock, state)
                if pid and pid != asked:
                    asked = pid
                    processes.send_signal(pid, signal.SIGKILL if now else signal.SIGTERM)
                if time.monotonic() > until:
                    raise Unavailable(
                        f"{state.parent}: pid {pid or '?'} does not end — `minikube down --now` ends it"
                    ) from None
                time.sleep(STEP_S / 10)
        told, left = _end_left(state)
    finally:
        os.close(lock)
    if left is not None:
        if told:
            click.echo(told)
        raise MinikubeError(str(left))
    if not told and not asked:
        raise nothing
    click.echo(told or "stopped")
    return 0


def _holder(lock: int, state: Path) -> int:
    """The supervisor that has the lock: it wrote its pid there, and has the file open. 0: none is alive."""
    text = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
    if not text.isdecimal():
        return 0
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{text}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{text}/fd/{descriptor}", state / LOCK_FILE):
                    return int(text)
    return 0


def _end_left(state: Path) -> tuple[str, EngineLeftovers | None]:
    """Ends what an earlier run left, as the next `up` would; says what that was, empty where nothing was left, and what
    has to stay where it is."""
    from minikube.engine.leftovers import remove_leftovers
    from minikube.linux import processes
    from minikube.project import orphans
    from minikube.project_dir import SUPERVISOR_FILE

    names = {pid: processes.describe(pid) for pid in orphans.find_orphans(state)}
    ended = orphans.kill_orphans(state)
    removed, left = remove_leftovers(state)
    (state / SUPERVISOR_FILE).unlink(missing_ok=True)
    orphans.remove_redis_socket(state)
    what = [names.get(pid) or f"pid {pid}" for pid in ended] + [f"container {name}" for name in removed]
    return f"ended what an earlier run left: {', '.join(what)}" if what else "", left


class ProcessExitWait:
    """Waits for the end of a process that is not our child, through a pidfd: a reused pid cannot fool it."""

    def __init__(self, pid: int) -> None:
        self._pidfd: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)

    def __enter__(self) -> ProcessExitWait:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended; waits up to `timeout` seconds for that."""
        if self._pidfd is None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


def recorded_pids(path: Path) -> list[int]:
    """Return the pids of the supervisor and of its guardian, which ends last; empty where no run is recorded."""
    from minikube.project_dir import project_dir, read_supervisor_record

    record = read_supervisor_record(project_dir(path))
    return [pid for pid in (record.pid, record.guardian_pid) if pid > 0] if record else []


def holders(endpoint: Endpoint) -> list[str]:
    """A line for each instance that a stop waits for; empty when nobody answers any more."""
    from minikube.control.client.blocking import ControlClient

    try:
        with ControlClient(endpoint, timeout=1.0) as client:
            return [*held_by(client.status(), time.time())]
    except MinikubeError:
        return []


def held_by(snapshot: Snapshot, now: float) -> Iterator[str]:
    """Those that are being stopped; those whose turn has not come are told only where nobody else holds it up."""
    from minikube.cli.render.table import age

    alive = [one for one in snapshot.instances if one.pid and one.state.has_process]
    stopping = [one for one in snapshot.instances if one.state == "stopping"]
    if not (stopping or alive) and any(one.kind == "container" for one in snapshot.services):
        yield "waiting for the containers' engine, which has not told yet that all are removed"
    for instance in stopping or alive:
        since = f" for {age(instance.since, now)}" if instance.since else ""
        why = f": {instance.reason}" if instance.reason else ""
        yield f"waiting for {instance.name} (pid {instance.pid}, {instance.state}{since}){why}"
