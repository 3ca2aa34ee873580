"""What an edited manifest means for what runs (floor 3, pure): one manifest against another → what to do, and how to say it.

    added      started as at `up`
    removed    stopped, then forgotten
    replaced   something changed that a running process cannot follow: restarted
    follows    did not change, but depends on a replaced service's having `completed`: restarted after it
    adjusted   changed under the running processes, which keep their pids
    scaled     replicas added or removed

Dependents that need a replaced service `started` or `healthy` go on running: they find it again in the registry. What the whole
project rests on (its name, registry, control, redis, containers) cannot change while it runs; that is refused.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from minikube.control.client.messages import ApplyReply, KeyChange, ServiceChange
from minikube.errors import UsageError
from minikube.manifest import Manifest, ServiceSpec
from minikube.manifest.diagnostics import join_words
from minikube.manifest.dump import dump_service
from minikube.project import graph

FREE = ("services", "path", "directory", "warnings")
"""Fields of a manifest that may differ."""

SECRET = "(secret)"
SHOWN = 60


class ApplyPlan(Struct, frozen=True):
    """Names in start order; a service is in one of the first five at most. `vacate` are replaced ones that have to be
    stopped before anything starts, because another service takes their port."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    scaled: dict[str, int] = {}
    vacate: frozenset[str] = frozenset()
    reply: ApplyReply = ApplyReply()


def plan(old: Manifest, new: Manifest) -> ApplyPlan:
    """How to get from `old` to `new`. Raises `UsageError` for what cannot change while it runs."""
    _refuse_foundations(old, new)
    before, after = dict(old.services), dict(new.services)
    diff = graph.diff(before, after)
    turned = {name for name in diff.adjusted if bool(before[name].schedule) != bool(after[name].schedule)}
    replaced = {*diff.replaced, *turned}
    order = graph.start_order({name: tuple(spec.depends_on) for name, spec in after.items()})
    follows = _followers(after, order, replaced)
    adjusted = [name for name in diff.adjusted if name not in turned and name not in follows]
    found = ApplyPlan(
        added=_sorted(order, diff.added),
        removed=tuple(
            name
            for name in graph.stop_order({name: tuple(before[name].depends_on) for name in before})
            if name not in after
        ),
        replaced=_sorted(order, replaced),
        follows=_sorted(order, follows),
        adjusted=_sorted(order, adjusted),
        scaled={name: after[name].replicas for name in order if "replicas" in diff.fields.get(name, ())},
    )
    return msgspec.structs.replace(
        found, vacate=_vacate(found, before, after), reply=_reply(found, before, after, new.warnings)
    )


def overdue(found: ApplyPlan, after: Mapping[str, ServiceSpec], runs: Mapping[str, ServiceSpec]) -> ApplyPlan:
    """The plan, and what an earlier one left: `runs` are services with processes that are not as the manifest says."""
    late = {name for name in runs if name in after and name not in (*found.replaced, *found.follows)}
    if not late:
        return found
    order = graph.start_order({name: tuple(spec.depends_on) for name, spec in after.items()})
    told = [ServiceChange(name, "replaced", key_changes(runs[name], after[name])) for name in order if name in late]
    changes = [one for one in found.reply.changes if one.service not in late]
    unchanged = tuple(name for name in found.reply.unchanged if name not in late)
    return msgspec.structs.replace(
        found,
        replaced=_sorted(order, late.union(found.replaced)),
        adjusted=tuple(name for name in found.adjusted if name not in late),
        reply=msgspec.structs.replace(found.reply, changes=(*changes, *told), unchanged=unchanged),
    )


def _refuse_foundations(old: Manifest, new: Manifest) -> None:
    changed = []
    for name in old.__struct_fields__:
        if name not in FREE and getattr(old, name) != getattr(new, name):
            changed += _paths(name, getattr(old, name), getattr(new, name))
    if changed:
        raise UsageError(
            f"{new.path.name}: {join_words(changed, 'and')} cannot change while it runs — `minikube down` and `minikube up`;"
            " nothing was changed"
        )


def _paths(name: str, old: Any, new: Any) -> list[str]:
    if not isinstance(old, Struct) or type(old) is not type(new):
        return [name]
    fields = [field for field in old.__struct_fields__ if getattr(old, field) != getattr(new, field)]
    return [f"{name}.{field}" for field in fields if field != "chosen"]


def _followers(services: dict[str, ServiceSpec], order: tuple[str, ...], replaced: set[str]) -> set[str]:
    again = set(replaced)
    for name in order:
        needs = services[name].depends_on
        if any(condition == "completed" and needed in again for needed, condition in needs.items()):
            again.add(name)
    return again - replaced


def _sorted(order: tuple[str, ...], names: Any) -> tuple[str, ...]:
    wanted = set(names)
    return tuple(name for name in order if name in wanted)


def _vacate(found: ApplyPlan, before: dict[str, ServiceSpec], after: dict[str, ServiceSpec]) -> frozenset[str]:
    held = {(before[name].host, before[name].port): name for name in found.replaced if before[name].port}
    wanted = {(after[name].host, after[name].port): name for name in (*found.added, *found.replaced)}
    return frozenset(holder for where, holder in held.items() if wanted.get(where, holder) != holder)


# ---------------------------------------------------------------- in words


def _reply(
    found: ApplyPlan, before: dict[str, ServiceSpec], after: dict[str, ServiceSpec], warnings: tuple[str, ...]
) -> ApplyReply:
    changes = [ServiceChange(name, "removed") for name in found.removed]
    touched = {*found.added, *found.replaced, *found.follows, *found.adjusted}
    for name in after:
        what = next((what for what in ("added", "replaced", "follows", "adjusted") if name in getattr(found, what)), "")
        if what == "adjusted" and name in found.scaled and set(_changed(before[name], after[name])) == {"replicas"}:
            what = "scaled"
        if what:
            keys = key_changes(before[name], after[name]) if name in before else ()
            changes.append(ServiceChange(name, what, keys))
    unchanged = tuple(name for name in after if name not in touched)
    return ApplyReply(tuple(changes), unchanged, warnings)


def _changed(old: ServiceSpec, new: ServiceSpec) -> list[str]:
    return [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]


def key_changes(old: ServiceSpec, new: ServiceSpec) -> tuple[KeyChange, ...]:
    """Each key that differs, before and after; secrets are told without their values."""
    before, after = (_flat("", dump_service(spec, defaults=True)) for spec in (old, new))
    changes = [
        KeyChange(path, _short(before.get(path, "")), _short(after.get(path, "")))
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
    ]
    told = {change.key.partition(".")[0] for change in changes}
    for name in _changed(old, new):
        if name == "file_env":
            changes.append(KeyChange("env_file", SECRET, SECRET))
        elif name == "env":
            names = dict.fromkeys([*old.env, *new.env])
            secret = [
                one for one in names if old.env.get(one) != new.env.get(one) and f"env.{one}" not in _keys(changes)
            ]
            changes += [KeyChange(f"env.{one}", SECRET, SECRET) for one in secret]
        elif name not in told and name not in ("auto_port", "workdir"):
            changes.append(KeyChange(name, SECRET, SECRET))
    return tuple(changes)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _keys(changes: list[KeyChange]) -> set[str]:
    return {change.key for change in changes}


def _flat(path: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {path: value if isinstance(value, str) else msgspec.json.encode(value).decode()}
    found: dict[str, str] = {}
    for name, one in value.items():
        found |= _flat(f"{path}.{name}" if path else name, one)
    return found
