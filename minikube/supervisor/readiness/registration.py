"""Who checks an instance, and what the registry and people are told of it (floor 3, pure): from the manifest, and where it listens.

It refuses to probe anything (`checkup` does) and to speak to the registry (`link` does).
"""

from minikube.manifest import HealthSpec, HostPort, ServiceSpec, fill_instance_variables
from minikube.model import Address, Registration

LEASE_S = 15.0
"""How long the registry believes a verdict that is not repeated. A killed supervisor leaves nothing to believe in anyway."""


def is_registered(spec: ServiceSpec, port: int) -> bool:
    """Whether the registry is to know it, by its own hand or ours."""
    return spec.register == "self" or (spec.register == "supervisor" and port > 0)


def is_reported(spec: ServiceSpec, port: int) -> bool:
    """Whether the registry learns from us how it is: we register it, and only we can check it."""
    return spec.register == "supervisor" and port > 0 and is_ours_alone(spec.health)


def is_ours_alone(health: HealthSpec | None) -> bool:
    """A check that only the supervisor can make."""
    return health is not None and health.kind in ("command", "log")


def health_url(spec: ServiceSpec, host: str, port: int) -> str:
    """What the registry, too, could probe; empty where only the supervisor can."""
    where, health = HostPort(host, port), spec.health
    if health is None or health.kind == "tcp":
        return f"tcp://{where}"
    if health.kind == "http":
        path = fill_instance_variables(health.http, {"PORT": str(port), "HOST": host})
        return path if "://" in path else f"http://{where}{path}"
    return ""


def check_text(spec: ServiceSpec, host: str, port: int) -> str:
    """The check as people are shown it; empty where there is none."""
    health = spec.health
    if health is not None and health.kind == "command":
        return " ".join(health.command)
    if health is not None and health.kind == "log":
        return f"log {health.log!r}"
    return health_url(spec, host, port) if port or (health and "://" in health.http) else ""


def registration(spec: ServiceSpec, id: str, host: str, port: int) -> Registration | None:
    """What the supervisor registers on the instance's behalf; None where it does not."""
    if spec.register != "supervisor" or not port:
        return None
    health = spec.health or HealthSpec("tcp")
    if is_ours_alone(health):  # the thresholds have been applied when the registry hears of it
        return Registration(spec.name, Address(host, port), "ttl:", id, spec.tags, dict(spec.meta), lease=LEASE_S)
    return Registration(
        name=spec.name,
        addr=Address(host, port),
        health_check=health_url(spec, host, port),
        uuid=id,
        tags=spec.tags,
        meta=dict(spec.meta),
        interval=health.interval,
        timeout=health.timeout,
        failures=health.failures,
        timeouts=health.timeouts,
        successes=health.successes,
    )
