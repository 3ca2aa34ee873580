"""What an edited manifest changes of the running services. Pure: two manifests in; a plan and the command's reply out.

    added      started as at `up`
    removed    stopped, then removed
    replaced   changed in a way that a running process cannot follow: restarted
    follows    did not change, but depends on a replaced service's having `completed` or `exited`: restarted after it
    adjusted   changed under the running processes, which keep their pids
    scaled     replicas added or removed

Dependents that need a replaced service `started` or `healthy` keep running: they find it again in the registry. The settings that
the whole project shares (its name, registry, control, redis, containers) cannot change while it runs: `plan` refuses that.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from minikube.control.client.messages import ApplyReply, KeyChange, ServiceChange
from minikube.errors import UsageError
from minikube.manifest import Manifest, ServiceSpec
from minikube.manifest.diagnostics import join_words
from minikube.manifest.dump import dump_service
from minikube.project import dependency_graph, service_diff
from minikube.project.instance_ports import fixed_ports

CHANGEABLE = ("services", "path", "directory", "warnings")
"""Fields of a manifest that may differ."""

SECRET = "(secret)"
VALUE_LENGTH = 60
"""Characters of a value that are shown."""


class ApplyPlan(Struct, frozen=True):
    """The steps of an apply: names of services by what is done to them, in start order.

    A service is in one of the first five fields at most.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    scaled: dict[str, int] = {}
    vacate: frozenset[str] = frozenset()
    """Replaced services that must be stopped before anything starts, because another service takes their port."""
    reply: ApplyReply = ApplyReply()


def plan(old: Manifest, new: Manifest, idle: Collection[str] = ()) -> ApplyPlan:
    """Return the steps from the manifest `old` to `new`. `idle` are the services that no apply starts: stopped, not selected.

    Raises `UsageError` where a setting differs that cannot change while the project runs.
    """
    _check_shared_settings(old, new)
    before, after = dict(old.services), dict(new.services)
    diff = service_diff.diff(before, after)
    # A schedule that was added or removed changes what a running process means: a run, or the service itself.
    rescheduled = {name for name in diff.adjusted if bool(before[name].schedule) != bool(after[name].schedule)}
    replaced = {*diff.replaced, *rescheduled}
    order = dependency_graph.start_order({name: tuple(spec.depends_on) for name, spec in after.items()})
    follows = _followers(after, order, replaced.difference(idle)) - replaced
    adjusted = [name for name in diff.adjusted if name not in rescheduled and name not in follows]
    stop_order = dependency_graph.stop_order({name: tuple(spec.depends_on) for name, spec in before.items()})
    apply_plan = ApplyPlan(
        added=_in_order(order, diff.added),
        removed=tuple(name for name in stop_order if name not in after),
        replaced=_in_order(order, replaced),
        follows=_in_order(order, follows),
        adjusted=_in_order(order, adjusted),
        scaled={name: after[name].replicas for name in order if "replicas" in diff.fields.get(name, ())},
    )
    warnings = new.warnings + _name_warnings(apply_plan, before, after)
    return msgspec.structs.replace(
        apply_plan, vacate=_vacated(apply_plan, before, after), reply=_reply(apply_plan, before, after, warnings)
    )


def add_outdated(
    apply_plan: ApplyPlan, after: Mapping[str, ServiceSpec], running: Mapping[str, ServiceSpec]
) -> ApplyPlan:
    """Return the plan with the services that an earlier apply failed to replace added to `replaced`.

    `after` are all services of the new manifest. `running` are the services to add, with the specs of their processes.
    """
    outdated = {name for name in running if name in after and name not in (*apply_plan.replaced, *apply_plan.follows)}
    if not outdated:
        return apply_plan
    order = dependency_graph.start_order({name: tuple(spec.depends_on) for name, spec in after.items()})
    changes = [change for change in apply_plan.reply.changes if change.service not in outdated]
    changes += [
        ServiceChange(name, "replaced", key_changes(running[name], after[name])) for name in order if name in outdated
    ]
    unchanged = tuple(name for name in apply_plan.reply.unchanged if name not in outdated)
    return msgspec.structs.replace(
        apply_plan,
        replaced=_in_order(order, outdated.union(apply_plan.replaced)),
        adjusted=tuple(name for name in apply_plan.adjusted if name not in outdated),
        reply=msgspec.structs.replace(apply_plan.reply, changes=tuple(changes), unchanged=unchanged),
    )


def _check_shared_settings(old: Manifest, new: Manifest) -> None:
    """Raise `UsageError` where a setting of the whole project (not of one service) differs between the manifests."""
    changed = []
    for name in old.__struct_fields__:
        if name not in CHANGEABLE and getattr(old, name) != getattr(new, name):
            changed += _changed_paths(name, getattr(old, name), getattr(new, name))
    if changed:
        raise UsageError(
            f"{new.path.name}: {join_words(changed, 'and')} cannot change while it runs — `minikube down` and `minikube up`;"
            " nothing was changed"
        )


def _changed_paths(name: str, old: Any, new: Any) -> list[str]:
    """Return the key paths, such as `registry.listen`, that differ between two values of the setting `name`."""
    if not isinstance(old, Struct) or type(old) is not type(new):
        return [name]
    fields = [field for field in old.__struct_fields__ if getattr(old, field) != getattr(new, field)]
    return [f"{name}.{field}" for field in fields if field != "chosen"]


def _followers(services: dict[str, ServiceSpec], order: tuple[str, ...], replaced: set[str]) -> set[str]:
    """Return the services that have to run again because they depend on the end of a replaced service.

    `order` are the names of `services` in start order.
    """
    restarted = set(replaced)
    for name in order:
        needs = services[name].depends_on
        if any(condition in ("completed", "exited") and needed in restarted for needed, condition in needs.items()):
            restarted.add(name)
    return restarted - replaced


def _in_order(order: tuple[str, ...], names: Iterable[str]) -> tuple[str, ...]:
    """Return those `names` that are in `order`, in that order."""
    wanted = set(names)
    return tuple(name for name in order if name in wanted)


def _vacated(apply_plan: ApplyPlan, before: dict[str, ServiceSpec], after: dict[str, ServiceSpec]) -> frozenset[str]:
    """Return the replaced services whose old address another service of the new manifest has."""
    # Addresses, not ports: two services may have the same port on two loopback addresses.
    held = {address: name for name in apply_plan.replaced for address in _addresses(before[name])}
    wanted = {
        address: name for name in (*apply_plan.added, *apply_plan.replaced) for address in _addresses(after[name])
    }
    return frozenset(holder for address, holder in held.items() if wanted.get(address, holder) != holder)


def _addresses(spec: ServiceSpec) -> set[tuple[str, str, int]]:
    """Return the addresses that the manifest gives to a service: host, protocol and port."""
    return {(spec.host, protocol, port) for protocol, port in fixed_ports(spec).used(spec)}


def _name_warnings(
    apply_plan: ApplyPlan, before: dict[str, ServiceSpec], after: dict[str, ServiceSpec]
) -> tuple[str, ...]:
    """Return a warning where containers find a service of the new manifest only after a restart.

    A container is told the names of services outside the project's network when it is created: see `engine.arguments`.
    """
    anew = {*apply_plan.added, *apply_plan.replaced, *apply_plan.follows}
    old = [name for name, spec in after.items() if spec.is_on_project_network and name not in anew]
    was_outside = {name for name, spec in before.items() if not spec.is_on_project_network}
    moved = [name for name in after if name in anew and (name in was_outside) == after[name].is_on_project_network]
    if not old or not moved:
        return ()
    return (
        f"{join_words(old, 'and')} {'finds' if len(old) == 1 else 'find'} {join_words(moved, 'and')} by name only after"
        f" `minikube restart {' '.join(old)}`, as a container keeps the names that it was created with",
    )


# ---------------------------------------------------------------- the reply


def _reply(
    apply_plan: ApplyPlan, before: dict[str, ServiceSpec], after: dict[str, ServiceSpec], warnings: tuple[str, ...]
) -> ApplyReply:
    """Return the reply of `minikube apply`: each changed service with its changed keys, and the unchanged services."""
    changes = [ServiceChange(name, "removed") for name in apply_plan.removed]
    touched = {*apply_plan.added, *apply_plan.replaced, *apply_plan.follows, *apply_plan.adjusted}
    for name in after:
        kind = next(
            (kind for kind in ("added", "replaced", "follows", "adjusted") if name in getattr(apply_plan, kind)), ""
        )
        if (
            kind == "adjusted"
            and name in apply_plan.scaled
            and set(_changed(before[name], after[name])) == {"replicas"}
        ):
            kind = "scaled"
        if kind:
            keys = key_changes(before[name], after[name]) if name in before else ()
            changes.append(ServiceChange(name, kind, keys))
    unchanged = tuple(name for name in after if name not in touched)
    return ApplyReply(tuple(changes), unchanged, warnings)


def _changed(old: ServiceSpec, new: ServiceSpec) -> list[str]:
    """Return the names of the spec's fields that differ."""
    return [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]


def key_changes(old: ServiceSpec, new: ServiceSpec) -> tuple[KeyChange, ...]:
    """Return the manifest keys of a service that differ, with the values before and after; secrets as `(secret)`."""
    before, after = (_flatten("", dump_service(spec, defaults=True)) for spec in (old, new))
    changes = [
        KeyChange(path, _shorten(before.get(path, "")), _shorten(after.get(path, "")))
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
    ]
    shown = {change.key for change in changes}
    # What differs and is not shown above is masked on both sides: a secret.
    for name in _changed(old, new):
        if name == "file_env":
            changes.append(KeyChange("env_file", SECRET, SECRET))
        elif name == "env":
            variables = dict.fromkeys([*old.env, *new.env])
            differ = [name for name in variables if old.env.get(name) != new.env.get(name)]
            changes += [KeyChange(f"env.{name}", SECRET, SECRET) for name in differ if f"env.{name}" not in shown]
        elif name not in ("auto_port", "workdir") and name not in {key.partition(".")[0] for key in shown}:
            changes.append(KeyChange(name, SECRET, SECRET))
    return tuple(changes)


def _shorten(text: str) -> str:
    """Return the text, cut at `VALUE_LENGTH`."""
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"


def _flatten(path: str, value: Any) -> dict[str, str]:
    """Return a nested table as a flat one: key path (`health.interval`) → value as text."""
    if not isinstance(value, dict):
        return {path: value if isinstance(value, str) else msgspec.json.encode(value).decode()}
    found: dict[str, str] = {}
    for name, inner in value.items():
        found |= _flatten(f"{path}.{name}" if path else name, inner)
    return found
