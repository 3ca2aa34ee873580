"""Replicas and limits: `deploy`, `scale`, `mem_limit`, `cpus`, `pids_limit`, `ulimits`."""

import math

from minikube.durations import parse_size
from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.compose.lifecycle import read_restart_policy
from minikube.importers.yaml_nodes import Entry, Items, Scalar, Table
from minikube.manifest.keys.limits import COUNT_LIMITS, LEAST_LIMITS, SIZE_LIMITS
from minikube.manifest.validate import MAX_REPLICAS

LEAST = {"memory": LEAST_LIMITS["memory"], "cpus": 0.01, "pids": 1}
MOST = {"memory": math.inf, "cpus": 4096, "pids": 2**62}

SWARM = "is for Swarm, and `docker compose` does not use it either"

DEPLOY_REASONS = {
    "mode": SWARM,
    "placement": SWARM,
    "update_config": SWARM,
    "rollback_config": SWARM,
    "endpoint_mode": SWARM,
    "labels": SWARM,
}


def read_scale(draft: ServiceDraft, entry: Entry) -> None:
    """Read `scale`."""
    _read_replicas(draft, entry, "scale")


def _read_replicas(draft: ServiceDraft, entry: Entry, key: str) -> None:
    number = draft.number(entry.value, key, 0, MAX_REPLICAS)
    if number is not None and number != 1:
        draft.out["replicas"] = number


def read_deploy(draft: ServiceDraft, entry: Entry) -> None:
    """Read `deploy`: replicas, limits, restarts, and graphics processors."""
    settings = draft.entries(entry, "deploy")
    if "replicas" in settings and not draft.has("scale"):
        _read_replicas(draft, settings["replicas"], "deploy.replicas")
    if "restart_policy" in settings:
        read_restart_policy(draft, settings["restart_policy"])
    if "resources" in settings:
        resources = draft.entries(settings["resources"], "deploy.resources")
        limits = draft.entries(resources["limits"], "deploy.resources.limits") if "limits" in resources else {}
        for name, key in (("memory", "memory"), ("cpus", "cpus"), ("pids", "pids")):
            if name in limits:
                _read_limit(draft, limits[name], f"deploy.resources.limits.{name}", key)
        draft.refuse_unknown(limits, "deploy.resources.limits", ("memory", "cpus", "pids"))
        if "reservations" in resources:
            _read_reservations(draft, resources["reservations"])
        draft.refuse_unknown(resources, "deploy.resources", ("limits", "reservations"))
    if (mode := settings.get("mode")) and isinstance(mode.value, Scalar) and mode.value.text == "replicated":
        settings = {key: value for key, value in settings.items() if key != "mode"}
    draft.refuse_unknown(settings, "deploy", ("replicas", "restart_policy", "resources"), DEPLOY_REASONS)


def _read_reservations(draft: ServiceDraft, entry: Entry) -> None:
    """Read the reserved devices; other reservations are for Swarm."""
    settings = draft.entries(entry, "deploy.resources.reservations")
    devices = settings["devices"].value if "devices" in settings else None
    for item in devices.items if isinstance(devices, Items) else ():
        table = item.entries if isinstance(item, Table) else {}
        count = table["count"].value if "count" in table else None
        ids = draft.texts(table["device_ids"].value, "device_ids") if "device_ids" in table else None
        text = count.text if isinstance(count, Scalar) else "all"
        if ids:
            text = f'"device={",".join(ids)}"'
        if text == "all" or text.isdigit() or ids:
            draft.add_engine_args(item.span, "deploy.resources.reservations.devices", f"--gpus={text}")
        else:
            draft.refuse(item.span, "deploy.resources.reservations.devices", "expected a count or device_ids")
    draft.refuse_unknown(settings, "deploy.resources.reservations", ("devices",), dict.fromkeys(settings, SWARM))


def read_memory(draft: ServiceDraft, entry: Entry) -> None:
    """Read `mem_limit`."""
    _read_limit(draft, entry, "mem_limit", "memory")


def read_cpus(draft: ServiceDraft, entry: Entry) -> None:
    """Read `cpus`."""
    _read_limit(draft, entry, "cpus", "cpus")


def read_pids(draft: ServiceDraft, entry: Entry) -> None:
    """Read `pids_limit`."""
    _read_limit(draft, entry, "pids_limit", "pids")


def _read_limit(draft: ServiceDraft, entry: Entry, source: str, key: str) -> None:
    """Read the limit that the manifest calls `key`. 0 and below are no limit, as in Compose."""
    is_size = key == "memory"
    text = draft.size(entry, source, "limits", key) if is_size else draft.text(entry.value, source, "limits", key)
    if not text:
        return
    value: str | int | float = text
    if "${" not in text:
        try:
            number = parse_size(text) if is_size else float(text)
        except (ValueError, OverflowError):
            number = math.nan
        if number <= 0:
            return
        if not LEAST[key] <= number <= MOST[key]:
            draft.refuse(entry.span, source, f"is no limit that a process can have — set limits.{key}")
            return
        if not is_size:
            value = int(number) if number == int(number) or key == "pids" else number
    draft.out.setdefault("limits", {})[key] = value


def read_ulimits(draft: ServiceDraft, entry: Entry) -> None:
    """Read `ulimits`: one number, or a soft and a hard one, of which a manifest has the soft one."""
    for name, item in draft.entries(entry, "ulimits").items():
        key = f"ulimits.{name}"
        if name not in (*COUNT_LIMITS, *SIZE_LIMITS) or name in ("memory", "pids"):
            draft.refuse(item.span, key, f"is no limit that a manifest has — add --ulimit={name}=… to engine_args")
            continue
        node = item.value
        if isinstance(node, Table):
            soft, hard = node.get("soft"), node.get("hard")
            found = soft or hard
            if found is None:
                draft.refuse(item.span, key, "expected soft and hard, or a number")
                continue
            if isinstance(soft, Scalar) and isinstance(hard, Scalar) and soft.text != hard.text:
                draft.inexact(item.span, key, "the soft limit is the hard one, too", "limits", name)
            node = found
        if isinstance(node, Scalar) and node.text == "-1":
            draft.out.setdefault("limits", {})[name] = "unlimited"
        elif (number := draft.number(node, key, LEAST_LIMITS.get(name, 0), 2**62)) is not None:
            draft.out.setdefault("limits", {})[name] = number
