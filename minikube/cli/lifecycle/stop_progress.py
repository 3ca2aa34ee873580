"""The progress of a stop of the project: a line of text for each instance that has not ended yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikube.errors import MinikubeError, Unresponsive

if TYPE_CHECKING:
    from minikube.control.client.blocking import Endpoint
    from minikube.model import Snapshot

POLL_S = 0.25
"""How long one wait for the supervisor's end takes; between two waits, progress and signals are handled."""

REPORT_INTERVAL_S = 2.0
"""How often a stop that takes long reports its progress."""

REQUEST_TIMEOUT_S = 2.0


def read_stop_progress(endpoint: Endpoint) -> list[str]:
    """Return a line of text for each instance that the stop of the project waits for; empty where no supervisor runs.

    Where it does not answer, the line says so.
    """
    from minikube.control.client.blocking import ControlClient

    try:
        with ControlClient(endpoint, timeout=REQUEST_TIMEOUT_S) as client:
            return [*progress_lines(client.status(), time.time())]
    except Unresponsive as error:
        return [str(error)]
    except MinikubeError:
        return []


def progress_lines(snapshot: Snapshot, now: float) -> Iterator[str]:
    """Yield a line for each instance that is being stopped; where there is none, for each that still has a process."""
    from minikube.cli.render.table import age

    alive = [view for view in snapshot.instances if view.pid and view.state.has_process]
    stopping = [view for view in snapshot.instances if view.state == "stopping"]
    if not (stopping or alive) and any(service.kind == "container" for service in snapshot.services):
        yield "waiting for the container engine to confirm that all containers are removed"
    for instance in stopping or alive:
        since = f" for {age(instance.since, now)}" if instance.since else ""
        why = f": {instance.reason}" if instance.reason else ""
        yield f"waiting for {instance.name} (pid {instance.pid}, {instance.state}{since}){why}"
