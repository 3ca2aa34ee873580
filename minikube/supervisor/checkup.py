"""Is the instance well? (floor 3): the supervisor's own probes of one running instance, for one life of it.

The registry checks what is registered; this is for what it cannot see (`register = "none"`, no port, log lines) and for
`restart_after`. It tells what it finds and decides nothing about the process.
"""

from collections.abc import Callable

import trio

from minikube.manifest import HealthSpec, ServiceSpec, fill
from minikube.model import Address, Registration
from minikube.probe.health import Outcome, ProbeResult
from minikube.probe.prober import Prober
from minikube.supervisor import lifecycle
from minikube.supervisor.logs import Capture
from minikube.supervisor.runtime import Running

FIRST_DELAY_S = 0.1
RETRY_MAX_S = 1.0

Found = Callable[[ProbeResult], bool]
"""Hears of each probe; False: enough, nothing has to be probed any more."""


async def watch_health(spec: ServiceSpec, running: Running, output: Capture, prober: Prober, found: Found) -> None:
    """Probes as the manifest says, for as long as somebody else does not."""
    health = spec.health
    ours = spec.register == "none" or not running.port
    if health is None and (ours or spec.register == "self"):
        await trio.sleep(lifecycle.WELL_AFTER_S)
        found(ProbeResult(Outcome.PASS, ""))
    elif health is not None and health.kind == "log":
        output.expect(health.log, lambda: found(ProbeResult(Outcome.PASS, "")))
    elif health is not None and health.kind in ("http", "tcp") and (ours or health.restart_after):
        await _probe(health, health_url(spec, running.host, running.port), prober, found)


async def _probe(health: HealthSpec, url: str, prober: Prober, found: Found) -> None:
    delay = min(FIRST_DELAY_S, health.interval)
    while True:
        result = await prober.probe(url, health.timeout)
        if not found(result):
            return
        delay = health.interval if result.outcome is Outcome.PASS else min(delay * 2, RETRY_MAX_S, health.interval)
        await trio.sleep(delay)


def health_url(spec: ServiceSpec, host: str, port: int) -> str:
    """What the registry, too, could probe; empty where only the supervisor can."""
    shown = f"[{host}]" if ":" in host else host
    health = spec.health
    if health is None or health.kind == "tcp":
        return f"tcp://{shown}:{port}"
    if health.kind == "http":
        path = fill(health.http, {"PORT": str(port), "HOST": host})
        return path if "://" in path else f"http://{shown}:{port}{path}"
    return ""


def registration(spec: ServiceSpec, id: str, host: str, port: int) -> Registration | None:
    """What the supervisor registers on the instance's behalf; None where it does not."""
    health, url = spec.health or HealthSpec("tcp"), health_url(spec, host, port)
    if spec.register != "supervisor" or not port or not url:
        return None
    return Registration(
        name=spec.name,
        addr=Address(host, port),
        health_check=url,
        uuid=id,
        tags=spec.tags,
        meta=dict(spec.meta),
        interval=health.interval,
        timeout=health.timeout,
        failures=health.failures,
        timeouts=health.timeouts,
        successes=health.successes,
    )
