"""Waiting until instances have reached a goal: long polls of the supervisor's status, judged by `goals`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from minikube.cli.common import connect, print_instances_json, print_json, print_message
from minikube.cli.exit_codes import TIMED_OUT
from minikube.cli.goals import check_names, find_missing, summarize_missing
from minikube.control.client.names import expand_groups, own_services
from minikube.errors import NothingRunning, Unavailable
from minikube.project.selection.groups import known_names

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Snapshot

POLL_S = 20.0
"""The longest long poll; the supervisor answers sooner when anything changes."""

RETRIES = 10
RETRY_INTERVAL_S = 0.05


def wait_for_goal(
    names: tuple[str, ...], goal: str, timeout: float, manifest: tuple[str, ...], as_json: bool = False
) -> int:
    """Wait until the instances of `names` (all, without names) have reached the goal; return the exit code.

    The code is 0, or TIMED_OUT after `timeout` seconds and a message that names the missing instances. `as_json` prints
    the instances in both cases. Raises MinikubeError when an instance cannot reach the goal.
    """
    deadline = time.monotonic() + timeout
    try:
        with connect(manifest) as client:
            snapshot = client.status()
            if goal != "gone":
                names = expand_groups(snapshot, names)
                check_names(snapshot, names)
            elif names and not (names := known_names(own_services(snapshot), names)):
                raise NothingRunning("nothing is in these groups any more")
            missing = wait_until(client, names, goal, deadline)
            if as_json:
                print_instances_json(client.status(), names)
            if missing:
                print_message(f"waited {timeout:g}s: {summarize_missing(missing, goal)}")
                return TIMED_OUT
    except NothingRunning:
        if goal != "gone":
            raise
        if as_json:
            print_json([])
    return 0


def wait_until(
    client: ControlClient,
    names: tuple[str, ...],
    goal: str,
    deadline: float,
    *,
    poll_s: float = POLL_S,
    keep_waiting: Callable[[], bool] = lambda: True,
) -> list[str]:
    """Wait until the selected instances have reached the goal, or until `deadline` (monotonic seconds).

    Return a text for each that has not reached it; empty when all have. `keep_waiting` is called after each poll, at
    least every `poll_s` seconds: when it returns false, return the last result. Raises MinikubeError when an instance
    cannot reach the goal, NothingRunning when the supervisor ends meanwhile, and Unavailable when it does not answer
    several requests in a row.
    """
    snapshot = _next_snapshot(client, -1, 0.0)
    missing: list[str] = []
    while keep_waiting() and (missing := find_missing(snapshot, names, goal)):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        snapshot = _next_snapshot(client, snapshot.revision, min(poll_s, remaining))
    return missing


def _next_snapshot(client: ControlClient, revision: int, timeout: float) -> Snapshot:
    """Return a snapshot newer than `revision`, or the present one after `timeout` seconds.

    Raises NothingRunning when the supervisor has ended, and Unavailable when it does not answer.
    """
    with suppress(Unavailable):
        return client.status(after=revision, wait=timeout)
    # A supervisor that ends resets connections which its listener had accepted: that is Unavailable. Only a refused
    # connection shows that it has ended, so ask again.
    for _ in range(RETRIES):
        with suppress(Unavailable):
            return client.status()
        time.sleep(RETRY_INTERVAL_S)
    return client.status()
