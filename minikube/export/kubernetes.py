"""Plan → Kubernetes' objects (floor 2, pure): a file for each service, and one for what they share.

A service is a Deployment, a task a Job, a schedule a CronJob. What may be read by anybody is in ConfigMaps, the rest in
Secrets; where values are not asked for they hold REPLACE-ME, and the notes say so.
"""

import hashlib
import math
import re
from typing import Any

from minikube.durations import parse_duration
from minikube.export.cluster import CERT_MOUNT, CERT_VOLUME, STORAGE, cluster_documents, metadata, shared_names
from minikube.export.documents import Document, Tree
from minikube.export.plan import OWN_ID, ExportPlan, Note, Workload, filled, uses_own_id
from minikube.export.probes import escaped, probes
from minikube.manifest import ServiceSpec

PLACEHOLDER = "REPLACE-ME"
VOLUMES_FILE = "volumes.yaml"
PULLS = {"missing": "IfNotPresent", "always": "Always", "never": "Never"}
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_CRON = (
    {60 * step: f"*/{step} * * * *" for step in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)}
    | {3_600: "0 * * * *"}
    | {3_600 * step: f"0 */{step} * * *" for step in (2, 3, 4, 6, 8, 12)}
    | {86_400: "0 0 * * *", 7 * 86_400: "0 0 * * 0"}
)
"""Periods in seconds that five cron fields can say, ascending."""


def kubernetes_documents(plan: ExportPlan) -> list[Document]:
    """What has no counterpart is added to the plan's notes."""
    documents = cluster_documents(plan, PLACEHOLDER)
    documents += [Document(VOLUMES_FILE, tree) for tree in _claims(plan)]
    for name, workload in plan.workloads.items():
        if _left_out(plan, workload):
            plan.notes.append(
                Note(f"services.{name}.profiles", f"left out — --profile {workload.spec.profiles[0]} puts it in")
            )
            continue
        documents += [Document(f"{name}.yaml", tree) for tree in _objects(plan, workload)]
    return documents


def _left_out(plan: ExportPlan, workload: Workload) -> bool:
    return bool(workload.spec.profiles) and not plan.choices.profiles & set(workload.spec.profiles)


def _claims(plan: ExportPlan) -> list[Tree]:
    """Named volumes, which services may share."""
    named: dict[str, int] = {}
    """And how many pods mount each."""
    for workload in plan.workloads.values():
        pods = 0 if _left_out(plan, workload) else workload.spec.replicas if workload.kind == "service" else 1
        for name in _volume_names(workload.spec):
            named[name] = named.get(name, 0) + pods
    for name, pods in named.items():
        plan.notes.append(Note(f"volumes.{name}", f"storage: {STORAGE} is a guess — set what it needs"))
        if pods > 1:
            told = (
                f"is ReadWriteOnce, and {pods} pods mount it: all have to be on one node — or ReadWriteMany, where the"
                " cluster's storage can"
            )
            plan.notes.append(Note(f"volumes.{name}", told))
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": STORAGE}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(plan, name), "spec": body}
        for name in named
    ]


def _objects(plan: ExportPlan, workload: Workload) -> list[Tree]:
    name = workload.spec.name
    trees: list[Tree] = []
    if config := _config(workload):
        trees.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(plan, name), "data": config})
    for key in workload.secrets:
        if not _DATA_KEY.fullmatch(key):
            plan.notes.append(Note(f"services.{name}.env", f"{key!r} cannot be a key of a Secret — it is left out"))
    names = [key for key in workload.secrets if _DATA_KEY.fullmatch(key)]
    if names:
        values = {key: workload.secrets[key] if plan.choices.with_secrets else PLACEHOLDER for key in names}
        trees.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata(plan, name),
                "type": "Opaque",
                "stringData": values,
            }
        )
        if not plan.choices.with_secrets:
            plan.notes.append(
                Note(f"services.{name}", f"{PLACEHOLDER} in the Secret {name}: {', '.join(values)} (or --with-secrets)")
            )
    trees.append(_controller(plan, workload))
    if workload.port:
        trees.append(_service(plan, workload))
    _tell(plan, workload)
    return trees


def _controller(plan: ExportPlan, workload: Workload) -> Tree:
    spec = workload.spec
    head = metadata(plan, spec.name)
    if workload.kind == "service":
        if spec.restart.policy != "always":
            plan.notes.append(Note(f"services.{spec.name}.restart", "a Deployment always restarts what ends"))
        body = {
            "replicas": spec.replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": spec.name}},
            "template": _template(plan, workload, "Always"),
        }
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": body}
    policy = "Never" if spec.restart.policy == "never" else "OnFailure"
    limit = 0 if spec.restart.policy == "never" else spec.restart.limit
    job = {"backoffLimit": limit, "template": _template(plan, workload, policy)}
    if workload.kind == "task":
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": head, "spec": job}
    cron = {"schedule": _schedule(plan, spec), "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": head, "spec": cron}


def _schedule(plan: ExportPlan, spec: ServiceSpec) -> str:
    if not spec.schedule.startswith("every "):
        return spec.schedule
    period = parse_duration(spec.schedule.removeprefix("every "))
    near = next((step for step in _CRON if step >= period), max(_CRON))
    if near != period:
        plan.notes.append(
            Note(f"services.{spec.name}.schedule", f"{spec.schedule} is no cron schedule — {_CRON[near]} instead")
        )
    return _CRON[near]


def _template(plan: ExportPlan, workload: Workload, restart: str) -> Tree:
    spec = workload.spec
    labels = metadata(plan, spec.name)["labels"]
    for tag in spec.tags:
        if _LABEL.fullmatch(tag):
            labels[f"mini-kube-discovery/{tag}"] = "true"
        else:
            plan.notes.append(Note(f"services.{spec.name}.tags", f"{tag!r} cannot be a label"))
    head: Tree = {"labels": labels}
    if spec.meta:
        head["annotations"] = {_annotation(name): value for name, value in spec.meta.items()}
    pod: Tree = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": math.ceil(spec.stop.timeout),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}} | _user(plan, spec),
    }
    if waits := _waits(plan, workload):
        pod["initContainers"] = waits
    pod["containers"] = [_container(plan, workload)]
    pod["volumes"] = [CERT_VOLUME] + [
        {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in _volume_names(spec)
    ]
    return {"metadata": head, "spec": pod}


def _container(plan: ExportPlan, workload: Workload) -> Tree:
    spec = workload.spec
    tree: Tree = {"name": spec.name, "image": workload.image, "imagePullPolicy": PULLS[spec.pull]}
    if workload.command:
        # a container's command stands for the image's CMD, a process's for the whole of it
        tree["args" if spec.runtime == "container" else "command"] = [escaped(word) for word in workload.command]
    if spec.workdir:
        tree["workingDir"] = spec.workdir
    env: list[Tree] = []
    if uses_own_id(workload):
        env.append({"name": "INSTANCE_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    told = {"HOST": "0.0.0.0", "SERVICE_NAME": spec.name} | ({"PORT": str(workload.port)} if workload.port else {})
    own = workload.env.keys() | workload.secrets.keys()  # `env` would win over `envFrom`, and the manifest wins here
    env += [{"name": key, "value": value} for key, value in told.items() if key not in own]
    config = _config(workload)
    env += [{"name": key, "value": escaped(value)} for key, value in workload.env.items() if key not in config]
    tree["env"] = env
    shared, secret = shared_names(plan)
    tree["envFrom"] = [{"configMapRef": {"name": shared}}, {"secretRef": {"name": secret}}]
    tree["envFrom"] += [{"configMapRef": {"name": spec.name}}] if config else []
    tree["envFrom"] += [{"secretRef": {"name": spec.name}}] if any(map(_DATA_KEY.fullmatch, workload.secrets)) else []
    if workload.port:
        tree["ports"] = [{"name": "main", "containerPort": workload.port}]
    tree |= probes(plan, workload)
    if spec.stop.command:
        words = [escaped(filled(workload, word, plan)) for word in spec.stop.command]
        tree["lifecycle"] = {"preStop": {"exec": {"command": words}}}
    if resources := _resources(spec):
        tree["resources"] = resources
    tree["securityContext"] = {"allowPrivilegeEscalation": False}
    tree["volumeMounts"] = [CERT_MOUNT] + [
        {"name": _volume_name(one.source), "mountPath": one.target} | ({"readOnly": True} if one.read_only else {})
        for one in spec.volumes
        if not one.is_path
    ]
    return tree


def _config(workload: Workload) -> dict[str, str]:
    """What a ConfigMap can hold: any value that is the same for all, under a name that is a key there."""
    return {key: value for key, value in workload.env.items() if OWN_ID not in value and _DATA_KEY.fullmatch(key)}


def _waits(plan: ExportPlan, workload: Workload) -> list[Tree]:
    """`depends_on` as containers that run first: a Service without a ready pod refuses, so a connection means healthy."""
    waits = []
    for name, condition in workload.spec.depends_on.items():
        other = plan.workloads[name]
        if condition != "healthy" or not other.port or _left_out(plan, other):
            plan.notes.append(
                Note(
                    f"services.{workload.spec.name}.depends_on.{name}",
                    f"Kubernetes does not wait until {name} is {condition} — it has to be ready for its absence",
                )
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
        waits.append(
            {"name": f"wait-{name}"[:63].rstrip("-"), "image": plan.registry_image, "command": ["python", "-c", script]}
        )
    return waits


def _service_name(name: str) -> str:
    return name if _SERVICE_NAME.fullmatch(name) else f"svc-{name}"


def _service(plan: ExportPlan, workload: Workload) -> Tree:
    name = _service_name(workload.spec.name)
    if name != workload.spec.name:
        told = f"a Service's name begins with a letter — it is {name} there"
        plan.notes.append(Note(f"services.{workload.spec.name}", told))
    ports = [{"name": "main", "port": workload.port, "targetPort": "main"}]
    spec = {"selector": {"app.kubernetes.io/name": workload.spec.name}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(plan, name), "spec": spec}


def _resources(spec: ServiceSpec) -> Tree:
    limits: Tree = {}
    if spec.limits.get("cpus", -1) > 0:
        limits["cpu"] = f"{math.ceil(spec.limits['cpus'] * 1000)}m"
    if spec.limits.get("memory", -1) > 0:
        limits["memory"] = str(int(spec.limits["memory"]))
    return {"limits": limits} if limits else {}


def _user(plan: ExportPlan, spec: ServiceSpec) -> dict[str, Any]:
    """`user` may hold the group as well, as an engine takes it: `1234:1234`."""
    user, _, group = spec.user.partition(":")
    found = {}
    for key, name, text in (("runAsUser", "user", user), ("runAsGroup", "group", spec.group or group)):
        if text.isascii() and text.isdigit():
            found[key] = int(text)
        elif text:
            where = f"services.{spec.name}.{name if name == 'user' or spec.group else 'user'}"
            plan.notes.append(Note(where, f"Kubernetes takes numbers — {text} has to be the image's own USER"))
    return found


def _tell(plan: ExportPlan, workload: Workload) -> None:
    """What Kubernetes has not."""
    spec = workload.spec
    key = f"services.{spec.name}"
    if spec.build and spec.name not in plan.choices.images:
        plan.notes.append(
            Note(
                f"{key}.build",
                f"is built here — push it where the cluster finds it, --image {spec.name}=REF (now {workload.image})",
            )
        )
    if spec.stop.signal != "TERM":
        plan.notes.append(Note(f"{key}.stop.signal", f"set in the image: STOPSIGNAL SIG{spec.stop.signal}"))
    for name in spec.limits.keys() - {"cpus", "memory"}:
        plan.notes.append(Note(f"{key}.limits.{name}", "has no counterpart in a pod"))
    for volume in spec.volumes:
        if volume.is_path:
            plan.notes.append(
                Note(
                    f"{key}.volumes",
                    f"{volume.source} is of this machine — put it into the image, or a volume at {volume.target}",
                )
            )
    if spec.init:
        plan.notes.append(Note(f"{key}.init", "has no counterpart — put an init into the image"))
    if spec.watch:
        plan.notes.append(Note(f"{key}.watch", "is not carried over"))


def _annotation(name: str) -> str:
    return f"mini-kube-discovery/{re.sub(r'[^A-Za-z0-9._-]', '-', name)[:63].strip('._-') or 'meta'}"


def _volume_names(spec: ServiceSpec) -> list[str]:
    """Each once, however often it is mounted."""
    return list(dict.fromkeys(_volume_name(volume.source) for volume in spec.volumes if not volume.is_path))


def _volume_name(source: str) -> str:
    """A DNS label. One that is spelt otherwise has a digest of it, so that `a.b`, `a_b` and `a-b` stay three volumes."""
    name = re.sub(r"[^a-z0-9]+", "-", source.lower())[:63].strip("-")
    if name == source and name != CERT_VOLUME["name"]:
        return name
    return f"{name[:54].strip('-') or 'volume'}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
