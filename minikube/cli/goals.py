"""Goals of `wait`: what each means for an instance, which instances miss it, and which can never reach it. Pure.

It refuses to wait: `lifecycle.goal_wait` asks the supervisor again until nothing is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikube.errors import MinikubeError, NotFound
from minikube.model import is_completed, is_ready

if TYPE_CHECKING:
    from minikube.model import InstanceView, Snapshot

GOALS = {
    "ready": "healthy; or completed, where it is a task",
    "healthy": "running, and passing its check where it has one",
    "started": "its process is running, or has run",
    "stopped": "no process of it is alive",
    "completed": "its process ended with success",
    "exited": "its process ended by itself, with or without success",
    "gone": "it is not in the project any more",
}
"""By goal: when an instance has reached it."""

OTHERS_SHOWN = 4
"""How many further instances an error describes; more would bury the cause."""


def check_names(snapshot: Snapshot, names: tuple[str, ...]) -> None:
    """Raise NotFound for the first name that is no service, instance name or instance id."""
    services = {service.name for service in snapshot.services}
    for name in names:
        if name not in services and not any(name in (view.name, view.id) for view in snapshot.instances):
            raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")


def find_missing(snapshot: Snapshot, names: tuple[str, ...], goal: str) -> list[str]:
    """Return a text for each instance that has not reached the goal, with the reason; empty when all have reached it.

    `names` select instances; without names, all of the project are meant, except stopped ones of services that `up` did not
    start.
    Raises MinikubeError when an instance cannot reach the goal any more, and for a name of `names` with 0 replicas.
    """
    not_started = {service.name for service in snapshot.services if not service.chosen}
    external = {service.name for service in snapshot.services if service.kind == "external"}
    selected = [
        view
        for view in snapshot.instances
        if {view.service, view.name, view.id} & set(names)
        or not (names or view.service in external or (view.service in not_started and view.state == "stopped"))
    ]
    if goal == "gone":
        return [f"{view.name} is {view.state}" for view in selected]
    missing = [view for view in selected if not has_reached(view, goal)]
    absent = _find_absent(snapshot, names, selected)
    if goal not in ("stopped", "exited"):
        # An instance that failed itself comes before those that wait for it: it is the cause.
        for view in sorted(missing, key=lambda view: view.state == "pending"):
            if why := why_unreachable(snapshot, view):
                counts = (len(selected) - len(missing), len(selected) + sum(number for number, _ in absent.values()))
                raise MinikubeError("; ".join([why, *_describe_others(missing, view, goal, *counts)]))
        for service in snapshot.services:
            if (
                service.name in names
                and not service.replicas
                and not any(view.service == service.name for view in selected)
            ):
                scale = f"`minikube scale {service.name}=1` starts one"
                raise MinikubeError(f"{service.name} has 0 replicas: no instance of it gets {goal} — {scale}")
    texts = [f"{view.name} is {_describe(view, goal)}" for view in missing]
    return (
        texts if goal == "stopped" else texts + [_describe_absent(name, *numbers) for name, numbers in absent.items()]
    )


def has_reached(instance: InstanceView, goal: str) -> bool:
    """Return whether an instance has reached the goal, which is any except `gone`."""
    match goal:
        case "started":
            return instance.state.is_active or instance.state == "exited"
        case "stopped":
            return instance.state in ("stopped", "exited", "fatal") and not instance.pid
        case "exited":
            return instance.state.is_final
        case "completed":
            return is_completed(instance)
        case "ready":
            in_maintenance = instance.state == "running" and instance.check == "maintenance"
            return bool(instance.next_run) or is_completed(instance) or in_maintenance or is_ready(instance)
    return is_ready(instance)


def why_unreachable(snapshot: Snapshot, instance: InstanceView) -> str:
    """Return a text that says why an instance will not become ready without a user's request; empty while it may."""
    if instance.state == "fatal" or (instance.state == "exited" and not is_completed(instance)):
        state = "is fatal" if instance.state == "fatal" else "has failed"
        return f"{instance.name} {state}: {instance.reason or instance.exit}"
    if instance.state != "pending":
        return ""
    service = next((service for service in snapshot.services if service.name == instance.service), None)
    for name, condition in service.depends_on.items() if service else ():
        if service is None or name in service.optional_dependencies:
            continue
        needed = [view for view in snapshot.instances if view.service == name]
        # Where an end is all that is waited for, the instance may be about to start.
        ends_are_fine = {"exited": ("exited", "fatal"), "started": ("exited",)}.get(condition, ())
        causes = ["" if view.state in ends_are_fine else why_unreachable(snapshot, view) for view in needed]
        if causes and all(causes):
            return f"{instance.name} waits for {name}, and {causes[0]}"
    return ""


def _describe_others(
    missing: list[InstanceView], cause: InstanceView, goal: str, reached: int, total: int
) -> list[str]:
    """Return texts about the instances other than `cause`, which cannot reach the goal.

    A text each for the first `OTHERS_SHOWN` that are `missing` the goal, then the number of the rest, and how many of the `total`
    that are waited for have `reached` it.
    """
    others = [view for view in missing if view is not cause]
    texts = [f"{view.name} is {_describe(view, goal)}" for view in others[:OTHERS_SHOWN]]
    if len(others) > OTHERS_SHOWN:
        texts.append(f"{len(others) - OTHERS_SHOWN} more are not {goal}")
    if reached:
        texts.append(f"{reached} of {total} {'is' if reached == 1 else 'are'} {goal}")
    return texts


def _find_absent(
    snapshot: Snapshot, names: tuple[str, ...], selected: list[InstanceView]
) -> dict[str, tuple[int, int]]:
    """Return by name how many instances do not exist yet, and how many do. Without names, of the services that `up` started."""
    services = {service.name: service for service in snapshot.services}
    wanted = names or tuple(
        service.name
        for service in services.values()
        if service.replicas and service.chosen and service.kind != "external"
    )
    absent = {}
    for name in wanted:
        found = sum(name in (view.service, view.name, view.id) for view in selected)
        needed = services[name].replicas if name in services else 1
        if found < max(needed, 1):
            absent[name] = (max(needed, 1) - found, found)
    return absent


def _describe_absent(name: str, absent: int, found: int) -> str:
    return f"{name} has {found} of {found + absent} instances" if found else f"{name} has no instance"


def _describe(instance: InstanceView, goal: str) -> str:
    """Return the state of an instance that has not reached the goal as text, with the reason in parentheses."""
    if goal in ("stopped", "exited", "completed") and instance.state == "running":
        return "running"
    state = instance.check if instance.state == "running" and instance.check else instance.state
    why = instance.reason
    if not why and instance.check != "passing":
        why = instance.output.strip().partition("\n")[0]
    return f"{state} ({why})" if why else str(state)


def summarize_missing(missing: list[str], goal: str) -> str:
    """Return one line for the texts of `find_missing`: instances with the same reason together, the first `OTHERS_SHOWN + 1`."""
    groups: dict[str, list[str]] = {}
    for text in missing:
        name, verb, why = text.partition(" is ")
        groups.setdefault(why if verb else text, []).append(name if verb else "")
    parts, described = [], 0
    for why, names in list(groups.items())[: OTHERS_SHOWN + 1]:
        described += len(names)
        if len(names) == 1:
            parts.append(f"{names[0]} is {why}" if names[0] else why)
            continue
        shown = ", ".join(names[:OTHERS_SHOWN])
        rest = f" and {len(names) - OTHERS_SHOWN} more" if len(names) > OTHERS_SHOWN else ""
        parts.append(f"{shown}{rest} are {why}")
    if more := len(missing) - described:
        parts.append(f"{more} more {'is' if more == 1 else 'are'} not {goal}")
    return "; ".join(parts)
