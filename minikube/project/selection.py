"""Which services of a manifest are started (floor 3, pure): profiles as Compose has them, and services by name.

A service without profiles is always chosen, one with profiles when any of them is active. Named services are chosen
whatever their profiles, and only they. Whatever a chosen one depends on is chosen too. The rest is shown as stopped.
"""

from collections.abc import Iterable, Mapping

from minikube.errors import UsageError
from minikube.manifest import ServiceSpec
from minikube.manifest.diagnostics import did_you_mean
from minikube.project import graph

EVERY = "*"
"""The profile that is all of them."""


def chosen(services: Mapping[str, ServiceSpec], only: Iterable[str], profiles: Iterable[str]) -> frozenset[str]:
    """Names of the services to start. Names in `only` that do not exist (any more) choose nothing."""
    active = set(profiles)
    named = [name for name in only if name in services]
    if not any(True for _ in only):
        named = [
            name
            for name, spec in services.items()
            if not spec.profiles or EVERY in active or not active.isdisjoint(spec.profiles)
        ]
    return frozenset(graph.needed({name: tuple(spec.depends_on) for name, spec in services.items()}, named))


def check_choice(services: Mapping[str, ServiceSpec], only: Iterable[str], profiles: Iterable[str]) -> None:
    """Raises `UsageError` for services and profiles that the manifest does not have."""
    for name in only:
        if name not in services:
            hint = did_you_mean(name, list(services)) or f" (there are: {', '.join(services) or 'none'})"
            raise UsageError(f"{name}: no such service in the manifest{hint}")
    known = sorted({profile for spec in services.values() for profile in spec.profiles})
    for profile in profiles:
        if profile not in known and profile != EVERY:
            hint = did_you_mean(profile, known) or (f" (there are: {', '.join(known)})" if known else "")
            raise UsageError(f"--profile {profile}: no service has this profile{hint}")
