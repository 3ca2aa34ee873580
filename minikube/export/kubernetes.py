"""The export for Kubernetes: a file for each service, one for volumes, and one for the objects that all share.

A service becomes a Deployment, a task a Job, a schedule a CronJob. Variables become ConfigMaps, secret ones Secrets; unless
the values of secrets are requested, a Secret contains REPLACE-ME, and a note says so.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any

from minikube.durations import parse_duration
from minikube.export.kubernetes_probes import container_probes, escape_references
from minikube.export.kubernetes_shared import (
    CERT_MOUNT,
    CERT_VOLUME,
    STORAGE,
    metadata,
    shared_config_names,
    shared_documents,
)
from minikube.export.workloads import INSTANCE_ID_MARKER, ExportPlan, Workload, expand, group_labels, uses_instance_id
from minikube.export.yaml_documents import Document, Tree
from minikube.manifest import HOST_GATEWAY, ServiceSpec
from minikube.model import to_dns_label
from minikube.project.instance_ports import listeners

PLACEHOLDER = "REPLACE-ME"
VOLUMES_FILE = "volumes.yaml"
PULL_POLICIES = {"missing": "IfNotPresent", "always": "Always", "never": "Never"}
PORT_NAME_MAX = 15
"""The most characters of a port's name (RFC 6335)."""

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_CRON_SCHEDULES = (
    {60 * step: f"*/{step} * * * *" for step in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)}
    | {3_600: "0 * * * *"}
    | {3_600 * step: f"0 */{step} * * *" for step in (2, 3, 4, 6, 8, 12)}
    | {86_400: "0 0 * * *", 7 * 86_400: "0 0 * * 0"}
)
"""The periods in seconds that a cron schedule can express, in ascending order."""


def kubernetes_documents(plan: ExportPlan) -> list[Document]:
    """Return the Kubernetes objects of all services. Add a note to `plan` for each manifest key without a counterpart."""
    documents = shared_documents(plan, PLACEHOLDER)
    documents += [Document(VOLUMES_FILE, tree) for tree in _volume_claims(plan)]
    for name, workload in plan.workloads.items():
        if _is_excluded(plan, workload):
            plan.add_note(f"services.{name}.profiles", f"left out — --profile {workload.spec.profiles[0]} includes it")
            continue
        documents += [Document(f"{name}.yaml", tree) for tree in _workload_objects(plan, workload)]
    return documents


def _is_excluded(plan: ExportPlan, workload: Workload) -> bool:
    """Return whether a service is left out: it has profiles, and none of them is exported."""
    return bool(workload.spec.profiles) and not plan.options.profiles & set(workload.spec.profiles)


def _volume_claims(plan: ExportPlan) -> list[Tree]:
    """Return a PersistentVolumeClaim for each named volume of all services."""
    pods_by_volume: dict[str, int] = {}
    for workload in plan.workloads.values():
        pods = 0 if _is_excluded(plan, workload) else workload.spec.replicas if workload.kind == "service" else 1
        for name in _volume_names(workload.spec):
            pods_by_volume[name] = pods_by_volume.get(name, 0) + pods
    for name, pods in pods_by_volume.items():
        plan.add_note(f"volumes.{name}", f"storage: {STORAGE} is a default — set the size that it needs")
        if pods > 1:
            text = (
                f"is ReadWriteOnce, and {pods} pods mount it: all have to be on one node — or ReadWriteMany, where the"
                " cluster's storage can"
            )
            plan.add_note(f"volumes.{name}", text)
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": STORAGE}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(plan, name), "spec": body}
        for name in pods_by_volume
    ]


def _workload_objects(plan: ExportPlan, workload: Workload) -> list[Tree]:
    """Return a service's Deployment, Job or CronJob, and its ConfigMap, Secret and Service where it needs them."""
    name = workload.spec.name
    trees: list[Tree] = []
    if config := _config_data(workload):
        trees.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(plan, name), "data": config})
    for key in workload.secrets:
        if not _DATA_KEY.fullmatch(key):
            plan.add_note(f"services.{name}.env", f"{key!r} cannot be a key of a Secret — it is left out")
    names = [key for key in workload.secrets if _DATA_KEY.fullmatch(key)]
    if names:
        values = {key: workload.secrets[key] if plan.options.with_secrets else PLACEHOLDER for key in names}
        trees.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata(plan, name),
                "type": "Opaque",
                "stringData": values,
            }
        )
        if not plan.options.with_secrets:
            plan.add_note(
                f"services.{name}", f"{PLACEHOLDER} in the Secret {name}: {', '.join(values)} (or --with-secrets)"
            )
    trees.append(_workload_controller(plan, workload))
    if list(_ports(workload)):
        trees.append(_service(plan, workload))
    _note_unsupported(plan, workload)
    return trees


def _workload_controller(plan: ExportPlan, workload: Workload) -> Tree:
    """Return a service's Deployment, Job or CronJob."""
    spec = workload.spec
    head = metadata(plan, spec.name)
    if workload.kind == "service":
        if spec.restart.policy != "always":
            plan.add_note(f"services.{spec.name}.restart", "a Deployment always restarts what ends")
        body = {
            "replicas": spec.replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": spec.name}},
            "template": _pod_template(plan, workload, "Always"),
        }
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": body}
    policy = "Never" if spec.restart.policy == "never" else "OnFailure"
    limit = 0 if spec.restart.policy == "never" else spec.restart.limit
    job = {"backoffLimit": limit, "template": _pod_template(plan, workload, policy)}
    if workload.kind == "task":
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": head, "spec": job}
    # As here: a run is skipped while the one before is still running.
    cron = {"schedule": _schedule(plan, spec), "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": head, "spec": cron}


def _schedule(plan: ExportPlan, spec: ServiceSpec) -> str:
    """Return a schedule for cron; a period that cron cannot express becomes the next longer one, with a note."""
    if not spec.schedule.startswith("every "):
        return spec.schedule
    period = parse_duration(spec.schedule.removeprefix("every "))
    nearest = next((step for step in _CRON_SCHEDULES if step >= period), max(_CRON_SCHEDULES))
    if nearest != period:
        plan.add_note(
            f"services.{spec.name}.schedule",
            f"{spec.schedule} is no cron schedule — {_CRON_SCHEDULES[nearest]} instead",
        )
    return _CRON_SCHEDULES[nearest]


def _pod_template(plan: ExportPlan, workload: Workload, restart: str) -> Tree:
    """Return the template of a service's pods; `restart` is the `restartPolicy`."""
    spec = workload.spec
    labels = metadata(plan, spec.name)["labels"]
    labels |= group_labels(spec, "mini-kube-discovery.group/")
    for tag in spec.tags:
        if _LABEL.fullmatch(tag):
            labels[f"mini-kube-discovery/{tag}"] = "true"
        else:
            plan.add_note(f"services.{spec.name}.tags", f"{tag!r} cannot be a label")
    head: Tree = {"labels": labels}
    if spec.meta:
        head["annotations"] = {_annotation_key(name): value for name, value in spec.meta.items()}
    pod: Tree = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": math.ceil(spec.stop.timeout),
        "automountServiceAccountToken": False,
        # Otherwise a Service called `registry` would set REGISTRY_PORT to a URL in every pod.
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}} | _security_context(plan, spec),
    }
    if aliases := _host_aliases(plan, spec):
        pod["hostAliases"] = aliases
    if init_containers := _init_containers(plan, workload):
        pod["initContainers"] = init_containers
    pod["containers"] = [_container(plan, workload)]
    pod["volumes"] = [CERT_VOLUME] + [
        {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in _volume_names(spec)
    ]
    pod["volumes"] += [
        {"name": _volume_name(volume.target), "emptyDir": {}} for volume in spec.volumes if not volume.source
    ]
    return {"metadata": head, "spec": pod}


def _container(plan: ExportPlan, workload: Workload) -> Tree:
    """Return the container of a service's pods."""
    spec = workload.spec
    tree: Tree = {"name": spec.name, "image": workload.image, "imagePullPolicy": PULL_POLICIES[spec.pull]}
    tree |= _command(plan, workload)
    if spec.workdir:
        tree["workingDir"] = spec.workdir
    env: list[Tree] = []
    if uses_instance_id(workload):
        env.append({"name": "INSTANCE_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    standard = {"HOST": "0.0.0.0", "SERVICE_NAME": spec.name} | workload.ports.variables
    # In a pod `env` overrides `envFrom`, here the manifest's variables override the standard ones: leave those out.
    own = workload.env.keys() | workload.secrets.keys()
    env += [{"name": key, "value": value} for key, value in standard.items() if key not in own]
    config = _config_data(workload)
    env += [
        {"name": key, "value": escape_references(value)} for key, value in workload.env.items() if key not in config
    ]
    tree["env"] = env
    shared, secret = shared_config_names(plan)
    tree["envFrom"] = [{"configMapRef": {"name": shared}}, {"secretRef": {"name": secret}}]
    tree["envFrom"] += [{"configMapRef": {"name": spec.name}}] if config else []
    tree["envFrom"] += [{"secretRef": {"name": spec.name}}] if any(map(_DATA_KEY.fullmatch, workload.secrets)) else []
    if ports := list(_ports(workload)):
        tree["ports"] = [{"name": name, "containerPort": number} | kind for name, number, kind in ports]
    tree |= container_probes(plan, workload)
    if spec.stop.argv:
        words = [escape_references(expand(workload, word, plan)) for word in spec.stop.argv]
        tree["lifecycle"] = {"preStop": {"exec": {"command": words}}}
    if resources := _resources(spec):
        tree["resources"] = resources
    tree["securityContext"] = {"allowPrivilegeEscalation": False}
    tree["volumeMounts"] = [CERT_MOUNT] + [
        {"name": _volume_name(volume.source or volume.target), "mountPath": volume.target}
        | ({"readOnly": True} if volume.read_only else {})
        for volume in spec.volumes
        if not volume.is_path
    ]
    return tree


def _command(plan: ExportPlan, workload: Workload) -> Tree:
    """Return `command` and `args` of a container: in a pod they are called so what replaces the image's ENTRYPOINT and CMD."""
    entrypoint, command = workload.entrypoint or (), workload.command
    if workload.entrypoint is None and workload.spec.runtime == "process":
        # A process has no entrypoint: its command is the whole of what runs.
        entrypoint, command = command, ()
    elif workload.entrypoint == ():
        entrypoint, command = command, ()
        if not entrypoint:
            text = "Kubernetes runs the image's ENTRYPOINT where there is no command — set command"
            plan.add_note(f"services.{workload.spec.name}.entrypoint", text)
    words = {"command": [*map(escape_references, entrypoint)], "args": [*map(escape_references, command)]}
    return {name: value for name, value in words.items() if value}


def _host_aliases(plan: ExportPlan, spec: ServiceSpec) -> list[Tree]:
    """Return the `hostAliases` of a pod: the names of `extra_hosts` by address."""
    names: dict[str, list[str]] = {}
    for name, address in spec.extra_hosts.items():
        if address == HOST_GATEWAY:
            plan.add_note(
                f"services.{spec.name}.extra_hosts.{name}", f"{HOST_GATEWAY} is this machine — set its address"
            )
        else:
            names.setdefault(address, []).append(name)
    return [{"ip": address, "hostnames": found} for address, found in names.items()]


def _config_data(workload: Workload) -> dict[str, str]:
    """Return the environment variables for the ConfigMap: not secret, equal in all pods, with names that it accepts."""
    return {
        key: value
        for key, value in workload.env.items()
        if INSTANCE_ID_MARKER not in value and _DATA_KEY.fullmatch(key)
    }


def _init_containers(plan: ExportPlan, workload: Workload) -> list[Tree]:
    """Return an init container for each dependency, which waits until the dependency accepts connections."""
    # A Service without a ready pod refuses connections: one that is accepted means that the dependency is healthy.
    containers = []
    for name, condition in workload.spec.depends_on.items():
        other = plan.workloads[name]
        if name in workload.spec.optional_dependencies:
            continue
        if condition != "healthy" or not other.port or _is_excluded(plan, other):
            plan.add_note(
                f"services.{workload.spec.name}.depends_on.{name}",
                f"Kubernetes does not wait until {name} is {condition} — the service has to start without it",
            )
            continue
        script = (
            "import socket, time\n"
            "while True:\n"
            "    try:\n"
            f"        socket.create_connection(({_service_name(name)!r}, {other.port}), 2).close()\n"
            "        break\n"
            "    except OSError:\n"
            "        time.sleep(1)\n"
        )
        containers.append(
            {"name": f"wait-{name}"[:63].rstrip("-"), "image": plan.registry_image, "command": ["python", "-c", script]}
        )
    return containers


def _service_name(name: str) -> str:
    """Return the name of the Service object for a service; it must begin with a letter."""
    return name if _SERVICE_NAME.fullmatch(name) else f"svc-{name}"


def _ports(workload: Workload) -> Iterator[tuple[str, int, Tree]]:
    """Yield each port of a workload: its name, its number, and its protocol as a key where it is not TCP."""
    for _, key, port in listeners(workload.spec):
        number = workload.ports.named[key] if key else workload.port
        # A port's name there: at most 15 characters, one letter at least; `main` is that of the key `port`.
        fits = len(key) <= PORT_NAME_MAX and re.search("[a-z]", key) and key != "main" and "--" not in key
        name = (key if fits else f"port-{number}") if key else "main"
        yield name, number, {"protocol": port.protocol.upper()} if port.protocol != "tcp" else {}


def _service(plan: ExportPlan, workload: Workload) -> Tree:
    """Return the Service of a service."""
    name = _service_name(workload.spec.name)
    if name != workload.spec.name:
        text = f"a Service's name begins with a letter — it is {name} there"
        plan.add_note(f"services.{workload.spec.name}", text)
    ports = [{"name": name, "port": number, "targetPort": name} | kind for name, number, kind in _ports(workload)]
    spec = {"selector": {"app.kubernetes.io/name": workload.spec.name}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(plan, name), "spec": spec}


def _resources(spec: ServiceSpec) -> Tree:
    """Return the `resources` of a container: its limits of CPU and memory."""
    limits: Tree = {}
    if spec.limits.get("cpus", -1) > 0:
        limits["cpu"] = f"{math.ceil(spec.limits['cpus'] * 1000)}m"
    if spec.limits.get("memory", -1) > 0:
        limits["memory"] = str(int(spec.limits["memory"]))
    return {"limits": limits} if limits else {}


def _security_context(plan: ExportPlan, spec: ServiceSpec) -> dict[str, Any]:
    """Return the user and group of the pod. `user` may contain the group as well, as a container engine takes it: `1234:1234`."""
    user, _, group = spec.user.partition(":")
    context = {}
    for key, name, text in (("runAsUser", "user", user), ("runAsGroup", "group", spec.group or group)):
        if text.isascii() and text.isdigit():
            context[key] = int(text)
        elif text:
            path = f"services.{spec.name}.{name if name == 'user' or spec.group else 'user'}"
            plan.add_note(path, f"Kubernetes takes numbers — make {text} the image's USER")
    return context


def _note_unsupported(plan: ExportPlan, workload: Workload) -> None:
    """Add notes for keys that Kubernetes does not have."""
    spec = workload.spec
    key = f"services.{spec.name}"
    if spec.build and spec.name not in plan.options.images:
        plan.add_note(
            f"{key}.build",
            f"is built here — push it to an image registry of the cluster, --image {spec.name}=REF (now {workload.image})",
        )
    if spec.stop.signal != "TERM":
        plan.add_note(f"{key}.stop.signal", f"set in the image: STOPSIGNAL SIG{spec.stop.signal}")
    for name in spec.limits.keys() - {"cpus", "memory"}:
        plan.add_note(f"{key}.limits.{name}", "has no counterpart in a pod")
    for volume in spec.volumes:
        if volume.is_path:
            plan.add_note(
                f"{key}.volumes",
                f"{volume.source} is on this machine — put it into the image, or mount a volume at {volume.target}",
            )
    if spec.on_exit != "keep":
        plan.add_note(f"{key}.on_exit", "has no counterpart: the other services go on")
    for name in spec.optional_dependencies:
        plan.add_note(f"{key}.depends_on.{name}", "is optional — the service starts without waiting for it")
    if spec.init:
        plan.add_note(f"{key}.init", "has no counterpart — put an init into the image")
    if spec.watch:
        plan.add_note(f"{key}.watch", "is not carried over")


def _annotation_key(name: str) -> str:
    """Return a key of `meta` as the key of an annotation."""
    return f"mini-kube-discovery/{re.sub(r'[^A-Za-z0-9._-]', '-', name)[:63].strip('._-') or 'meta'}"


def _volume_names(spec: ServiceSpec) -> list[str]:
    """Return the names of a service's named volumes without duplicates."""
    named = (volume.source for volume in spec.volumes if volume.source and not volume.is_path)
    return list(dict.fromkeys(map(_volume_name, named)))


def _volume_name(source: str) -> str:
    """Return the name of a volume as a DNS label.

    A digest is added to names that are none, so that `a.b`, `a_b` and `a-b` stay three volumes.
    """
    name = to_dns_label(source)
    if name == source and name != CERT_VOLUME["name"]:
        return name
    return f"{name[:54].strip('-') or 'volume'}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
