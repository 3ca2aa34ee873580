"""`minikube wait` (floor 4): long polls of the board, and what they mean (`judge`, pure).

It refuses to wait for what cannot come: an instance that is fatal, a task that failed, or one that depends on such.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from minikube.cli.common import (
    connect,
    duration,
    json_option,
    manifest_option,
    names_argument,
    note,
    print_instances,
    print_json,
)
from minikube.errors import MinikubeError, NotFound, NothingRunning, Unavailable
from minikube.model import is_ready

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import InstanceView, Snapshot

TIMED_OUT = 124
"""The exit code of `timeout(1)`, and ours for `wait`."""

ENDING_TRIES = 10
ENDING_STEP_S = 0.05
POLL_S = 20.0
"""How long one long poll may take; the supervisor answers sooner when anything changes."""

OTHERS_SHOWN = 4

GOALS = {
    "ready": "healthy, or completed where it is a task",
    "healthy": "running and passing its check, where it has one",
    "started": "its process runs, or has run",
    "stopped": "nothing of it is alive",
    "completed": "ended with success",
    "exited": "ended by itself, however",
    "gone": "not there any more",
}


@click.command()
@names_argument(required=False)
@click.option(
    "--for",
    "goal",
    type=click.Choice(list(GOALS)),
    default="ready",
    show_default=True,
    help="; ".join(f"{goal}: {meaning}" for goal, meaning in GOALS.items()) + ".",
)
@click.option("--timeout", metavar="DURATION", default="60s", show_default=True, help="Give up after that long.")
@manifest_option
@json_option
def wait_command(names: tuple[str, ...], goal: str, timeout: str, manifest: str | None, as_json: bool) -> int:
    """Wait until every instance of services (of all, when none is named) is as wanted; exit code 124 when the time is over.

    What can never come (an instance is fatal, a task has failed) is exit code 1 at once.
    """
    return wait_for(names, goal, duration("--timeout", timeout), manifest, as_json)


def wait_for(names: tuple[str, ...], goal: str, seconds: float, manifest: str | None, as_json: bool = False) -> int:
    """The exit code: 0, or 124 after it told on stderr what was missing. Raises MinikubeError for what cannot come.

    `as_json`: in either case how the instances are then, as `ps` tells it.
    """
    deadline = time.monotonic() + seconds
    try:
        with connect(manifest) as client:
            if goal != "gone":
                check_names(client.status(), names)
            missing = wait_until(client, names, goal, deadline)
            if as_json:
                print_instances(client.status(), names)
            if missing:
                note(f"waited {seconds:g}s: {'; '.join(missing)}")
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
    going: Callable[[], bool] = lambda: True,
) -> list[str]:
    """What is still missing at `deadline` (monotonic); empty as soon as all is as wanted. It also ends, with whatever was
    missing last, once it is not `going` any more.

    Raises MinikubeError for what cannot come, NothingRunning when the supervisor ends meanwhile, Unavailable when it
    does not answer again and again. `going` is looked at every `poll_s`.
    """
    snapshot = _next(client, -1, 0.0)
    missing: list[str] = []
    while going() and (missing := judge(snapshot, names, goal)):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        snapshot = _next(client, snapshot.revision, min(poll_s, left))
    return missing


def _next(client: ControlClient, revision: int, seconds: float) -> Snapshot:
    """The next board. Raises NothingRunning also when the supervisor ends while it is asked."""
    with suppress(Unavailable):
        return client.status(after=revision, wait=seconds)
    # One that ends resets what its listener had still taken: only a refused connection tells that it is gone.
    for _ in range(ENDING_TRIES):
        with suppress(Unavailable):
            return client.status()
        time.sleep(ENDING_STEP_S)
    return client.status()


def check_names(snapshot: Snapshot, names: tuple[str, ...]) -> None:
    """Raises NotFound for a name that is no service, instance or id."""
    services = {service.name for service in snapshot.services}
    for name in names:
        if name not in services and not any(name in (one.name, one.id) for one in snapshot.instances):
            raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")


def judge(snapshot: Snapshot, names: tuple[str, ...], goal: str) -> list[str]:
    """What is still missing and why, one text each; empty when all is as wanted. Raises MinikubeError when it cannot be."""
    idle = {one.name for one in snapshot.services if not one.chosen}
    chosen = [
        one
        for one in snapshot.instances
        if {one.service, one.name, one.id} & set(names)
        or (not names and not (one.service in idle and one.state == "stopped"))
    ]
    if goal == "gone":
        return [f"{one.name} is {one.state}" for one in chosen]
    missing = [one for one in chosen if not is_met(one, goal)]
    if goal not in ("stopped", "exited"):
        # What has failed itself comes before those that wait for it.
        for one in sorted(missing, key=lambda one: one.state == "pending"):
            if why := hopeless(snapshot, one):
                raise MinikubeError("; ".join([why, *_others(chosen, missing, one, goal)]))
    told = [f"{one.name} is {_standing(one, goal)}" for one in missing]
    return told if goal == "stopped" else told + _absent(snapshot, names, chosen)


def _others(chosen: list[InstanceView], missing: list[InstanceView], cause: InstanceView, goal: str) -> list[str]:
    """How those stand that nobody waits for any more because of `cause`, a text each: the first few, and how many are well."""
    left = [one for one in missing if one is not cause]
    told = [f"{one.name} is {_standing(one, goal)}" for one in left[:OTHERS_SHOWN]]
    if len(left) > OTHERS_SHOWN:
        told.append(f"{len(left) - OTHERS_SHOWN} more are not {goal}")
    if met := len(chosen) - len(missing):
        told.append(f"{met} of {len(chosen)} {'is' if met == 1 else 'are'} {goal}")
    return told


def _absent(snapshot: Snapshot, names: tuple[str, ...], chosen: list[InstanceView]) -> list[str]:
    """Who is to be there and is not, one text each."""
    services = {one.name: one for one in snapshot.services}
    asked = names or tuple(
        one.name for one in services.values() if one.replicas and one.chosen and one.kind != "external"
    )
    told = []
    for name in asked:
        if not any(name in (one.service, one.name, one.id) for one in chosen):
            zero = name in services and not services[name].replicas
            told.append(f"{name} has no instance{' (0 replicas)' if zero else ''}")
    return told


def is_met(one: InstanceView, goal: str) -> bool:
    """Whether one instance is as wanted."""
    match goal:
        case "started":
            return one.state.is_active or one.state == "exited"
        case "stopped":
            return one.state in ("stopped", "exited", "fatal") and not one.pid
        case "exited":
            return one.state.is_final
        case "completed":
            return is_completed(one)
        case "ready" if one.next_run or is_completed(one) or (one.state == "running" and one.check == "maintenance"):
            return True
    return is_ready(one)


def is_completed(one: InstanceView) -> bool:
    """A success that the manifest declares as one has no reason; exit 0 always is one."""
    return one.state == "exited" and (one.exit == "exit 0" or not one.reason)


def hopeless(snapshot: Snapshot, one: InstanceView) -> str:
    """Why an instance will not get anywhere by itself; empty while it may."""
    if one.state == "fatal" or (one.state == "exited" and not is_completed(one)):
        return f"{one.name} {'is fatal' if one.state == 'fatal' else 'has failed'}: {one.reason or one.exit}"
    if one.state != "pending":
        return ""
    service = next((service for service in snapshot.services if service.name == one.service), None)
    for name in service.depends_on if service else ():
        needed = [other for other in snapshot.instances if other.service == name]
        causes = [hopeless(snapshot, other) for other in needed]
        if causes and all(causes):
            return f"{one.name} waits for {name}, and {causes[0]}"
    return ""


def _standing(one: InstanceView, goal: str) -> str:
    if goal in ("stopped", "exited", "completed") and one.state == "running":
        return "running"
    state = one.check if one.state == "running" and one.check else one.state
    words = one.reason or one.output.strip().partition("\n")[0] if one.check != "passing" else one.reason
    return f"{state} ({words})" if words else str(state)
