"""A health check of the manifest as Compose's `healthcheck`, and the texts of Compose that it is made of."""

import math
from urllib.parse import urlsplit

from minikube.export.workloads import INSTANCE_ID_MARKER, ExportPlan, Workload, expand
from minikube.export.yaml_documents import Tree
from minikube.manifest import HealthSpec

HTTP_CHECK = """\
wget -qO /dev/null {url} 2>/dev/null || curl -fsSo /dev/null {url} 2>/dev/null || python3 -c 'import urllib.request as r; \
r.urlopen("{url}", timeout={timeout})'"""
"""An HTTP check with the tools that images have: BusyBox and Debian have wget, many images curl, Python's neither."""

TCP_CHECK = """\
nc -z 127.0.0.1 {port} 2>/dev/null || python3 -c 'import socket; socket.create_connection(("127.0.0.1", {port}), {timeout})'"""


def healthcheck(plan: ExportPlan, workload: Workload) -> Tree | None:
    """Return the health check of a workload as Compose's `healthcheck`, or None if it has none that Compose can run."""
    health = workload.spec.health
    if health is None or health.kind == "log":
        return None
    timeout = math.ceil(health.timeout)
    if health.kind == "command":
        test = [
            "CMD",
            *(replace_instance_id(expand(workload, word, plan), workload.spec.name) for word in health.argv),
        ]
    elif health.kind == "tcp":
        test = ["CMD-SHELL", TCP_CHECK.format(port=workload.port, timeout=timeout)]
    else:
        url = expand(workload, health.http, plan)
        full_url = url if "://" in url else f"http://127.0.0.1:{workload.port}{url}"
        if any(mark in full_url for mark in "'\"\\ `$;&|<>()"):
            # The URL is part of a shell command, and of a Python program inside it.
            full_url = urlsplit(full_url)._replace(query="", fragment="").geturl()
            plan.add_note(f"services.{workload.spec.name}.health.http", f"is checked without its query: {full_url}")
        test = ["CMD-SHELL", HTTP_CHECK.format(url=full_url, timeout=timeout)]
    return healthcheck_settings(test, health)


def healthcheck_settings(test: list[str], health: HealthSpec) -> Tree:
    """Return Compose's `healthcheck` that runs `test` with the manifest's intervals and thresholds."""
    return {
        "test": test,
        "interval": duration(health.interval),
        "timeout": duration(health.timeout),
        "retries": max(health.failures, health.timeouts),
        "start_period": duration(health.start_period),
        # No `start_interval`: an engine older than 25 does not start a container that has one.
    }


def replace_instance_id(text: str, name: str) -> str:
    """Return `text` escaped, with the service's name in place of the instance id."""
    return escape_dollars(text.replace(INSTANCE_ID_MARKER, name))


def duration(seconds: float) -> str:
    """Return a duration as Compose writes it: `5s`, `1500ms`."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def escape_dollars(text: str) -> str:
    """Return `text` so that Compose does not interpolate it."""
    return text.replace("$", "$$")
