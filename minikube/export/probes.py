"""A health check as Kubernetes' probes (floor 2, pure).

`readinessProbe` decides whether a Service sends anything there, as passing does here; it needs no start period, since a pod
that was never ready is not ready. `livenessProbe` restarts, so it is there only with `restart_after`, and then
`startupProbe` keeps it away during the start period.
"""

import math
from urllib.parse import urlsplit

from minikube.export.documents import Tree
from minikube.export.plan import OWN_ID, ExportPlan, Note, Workload, filled


def probes(plan: ExportPlan, workload: Workload) -> Tree:
    """None, `readinessProbe`, or all three."""
    health = workload.spec.health
    if health is None or health.kind == "log" or workload.kind != "service":
        return {}
    action = _action(plan, workload)
    key = f"services.{workload.spec.name}.health"
    period = max(1, math.ceil(health.interval))
    if health.interval < 1:
        plan.notes.append(Note(f"{key}.interval", "Kubernetes asks once a second at most"))
    timing = {"periodSeconds": period, "timeoutSeconds": max(1, math.ceil(health.timeout))}
    failures = max(health.failures, health.timeouts)
    found: Tree = {
        "readinessProbe": action | timing | {"failureThreshold": failures, "successThreshold": health.successes}
    }
    if health.restart_after:
        starting = max(1, math.ceil(health.start_period / period))
        found["startupProbe"] = action | timing | {"failureThreshold": starting + health.restart_after}
        found["livenessProbe"] = action | timing | {"failureThreshold": health.restart_after}
    return found


def _action(plan: ExportPlan, workload: Workload) -> Tree:
    health = workload.spec.health
    assert health is not None
    if health.kind == "command":
        return {"exec": {"command": [escaped(filled(workload, word, plan)) for word in health.command]}}
    if health.kind == "tcp":
        return {"tcpSocket": {"port": workload.port}}
    url = filled(workload, health.http, plan)
    if "://" not in url:
        return {"httpGet": {"path": url, "port": workload.port}}
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.hostname not in ("127.0.0.1", "localhost", "0.0.0.0"):
        where = f"services.{workload.spec.name}.health.http"
        plan.notes.append(Note(where, f"asks {parts.hostname} — there the pod itself is asked, at port {port}"))
    return {"httpGet": {"path": path, "port": port, "scheme": parts.scheme.upper()}}


def escaped(text: str) -> str:
    """Kubernetes would expand `$(NAME)`; `${INSTANCE_ID}` becomes that."""
    return text.replace("$(", "$$(").replace(OWN_ID, "$(INSTANCE_ID)")
