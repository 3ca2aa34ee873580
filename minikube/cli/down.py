"""Stopping a whole project (floor 4): `down`, and who holds a stop. It waits for processes to end, not for words."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import duration, manifest_argument, manifest_path, note
from minikube.errors import MinikubeError

if TYPE_CHECKING:
    from minikube.client.control import Endpoint
    from minikube.model import Snapshot

TELL_EVERY_S = 2.0
"""How often a stop that is held says who holds it."""

STEP_S = 0.25
"""How long one wait for the supervisor's end takes; what it tells on the way is looked at in between."""


@click.command()
@manifest_argument
@click.option("--now", is_flag=True, help="At once: no time-outs, no order.")
@click.option("--timeout", metavar="DURATION", default="", help="Give up waiting after that long (exit code 124).")
def down_command(manifest: str | None, now: bool, timeout: str) -> int:
    """Stop everything in reverse order, and wait until nothing is left. Ctrl-C while waiting stops at once."""
    from minikube.cli.waiting import TIMED_OUT
    from minikube.client.control import ControlClient, find_supervisor

    patience = duration("--timeout", timeout) if timeout else None
    path = manifest_path(manifest)
    endpoint = find_supervisor(path)
    begun = told = time.monotonic()
    with contextlib.ExitStack() as stack:
        departures = [stack.enter_context(Departure(pid)) for pid in recorded_pids(path)]
        with ControlClient(endpoint) as client:
            client.shutdown(now)
        while True:
            try:
                if all(departure.wait(STEP_S) for departure in departures):
                    click.echo("stopped")
                    return 0
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


class Departure:
    """Waits for the end of a process that is not our child, through a pidfd: a reused pid cannot fool it."""

    def __init__(self, pid: int) -> None:
        self._pidfd: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)

    def __enter__(self) -> Departure:
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
    """The supervisor and its guardian, which goes last: when both have ended, nothing they started is left."""
    try:
        state = json.loads((path.absolute().parent / ".minikube" / "supervisor.json").read_bytes())
        return [pid for key in ("pid", "guardian_pid") if isinstance(pid := state.get(key), int) and pid > 0]
    except (OSError, ValueError, AttributeError):
        return []


def holders(endpoint: Endpoint) -> list[str]:
    """A line for each instance that a stop waits for; empty when nobody answers any more."""
    from minikube.client.control import ControlClient

    try:
        with ControlClient(endpoint, timeout=1.0) as client:
            return [*held_by(client.status(), time.time())]
    except MinikubeError:
        return []


def held_by(snapshot: Snapshot, now: float) -> Iterator[str]:
    """Those that are being stopped; those whose turn has not come are told only where nobody else holds it up."""
    from minikube.cli.table import age

    alive = [one for one in snapshot.instances if one.pid and one.state in ("stopping", "running", "starting")]
    stopping = [one for one in snapshot.instances if one.state == "stopping"]
    for instance in stopping or alive:
        since = f" for {age(instance.since, now)}" if instance.since else ""
        why = f": {instance.reason}" if instance.reason else ""
        yield f"waiting for {instance.name} (pid {instance.pid}, {instance.state}{since}){why}"
