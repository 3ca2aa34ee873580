"""A health check as Kubernetes' probes.

A `readinessProbe` decides whether a Service sends requests to a pod, as `passing` decides it here. It needs no start period:
a pod is not ready before its first success. A `livenessProbe` restarts the container, so there is one only with
`restart_after`; a `startupProbe` then holds it back during the start period.
"""

import math
from urllib.parse import urlsplit

from minikube.export.workloads import INSTANCE_ID_MARKER, ExportPlan, Workload, expand
from minikube.export.yaml_documents import Tree


def container_probes(plan: ExportPlan, workload: Workload) -> Tree:
    """Return the probes of a container by their Kubernetes key: none, a readiness probe, or all three."""
    health = workload.spec.health
    if health is None or health.kind == "log" or workload.kind != "service":
        return {}
    action = _action(plan, workload)
    key = f"services.{workload.spec.name}.health"
    period = max(1, math.ceil(health.interval))
    if health.interval < 1:
        plan.add_note(f"{key}.interval", "Kubernetes checks at most once a second")
    timing = {"periodSeconds": period, "timeoutSeconds": max(1, math.ceil(health.timeout))}
    failures = max(health.failures, health.timeouts)
    probes: Tree = {
        "readinessProbe": action | timing | {"failureThreshold": failures, "successThreshold": health.successes}
    }
    if health.restart_after:
        starting = max(1, math.ceil(health.start_period / period))
        probes["startupProbe"] = action | timing | {"failureThreshold": starting + health.restart_after}
        probes["livenessProbe"] = action | timing | {"failureThreshold": health.restart_after}
    return probes


def _action(plan: ExportPlan, workload: Workload) -> Tree:
    """Return the action of a probe as in Kubernetes: `exec`, `tcpSocket` or `httpGet`."""
    health = workload.spec.health
    assert health is not None
    if health.kind == "command":
        return {"exec": {"command": [escape_references(expand(workload, word, plan)) for word in health.argv]}}
    if health.kind == "tcp":
        return {"tcpSocket": {"port": workload.port}}
    url = expand(workload, health.http, plan)
    if "://" not in url:
        return {"httpGet": {"path": url, "port": workload.port}}
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.hostname not in ("127.0.0.1", "localhost", "0.0.0.0"):
        key = f"services.{workload.spec.name}.health.http"
        plan.add_note(key, f"checks {parts.hostname} — there the pod itself is checked, at port {port}")
    return {"httpGet": {"path": path, "port": port, "scheme": parts.scheme.upper()}}


def escape_references(text: str) -> str:
    """Return `text` with `$(NAME)` escaped, which Kubernetes would expand, and the instance id as `$(INSTANCE_ID)`."""
    return text.replace("$(", "$$(").replace(INSTANCE_ID_MARKER, "$(INSTANCE_ID)")
