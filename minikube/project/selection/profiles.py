"""Select the services of a manifest that `up` starts: by profiles, as in Compose, or by name. Pure.

A service without profiles is selected, a service with profiles when one of them is active. Where services are named, only
they are selected, whatever their profiles. The services that a selected one depends on are selected too, except optional
dependencies; one that is only in profiles that are not active is an error. All others are shown as stopped.
"""

from collections.abc import Iterable, Mapping

from minikube.errors import UsageError
from minikube.manifest import ServiceSpec
from minikube.manifest.diagnostics import did_you_mean
from minikube.project import dependency_graph
from minikube.project.selection.groups import expand_names, known_names

ALL_PROFILES = "*"
"""The name that activates all profiles."""


def select_services(
    services: Mapping[str, ServiceSpec], only: Iterable[str], profiles: Iterable[str]
) -> frozenset[str]:
    """Return the names of the services to start. A name in `only` without a service is ignored: an edit may remove a service.

    Names of groups count each time anew: an edit may change their services.
    """
    active, only = set(profiles), tuple(only)
    named = _named(services, only)
    if not only:  # no names at all: profiles decide
        named = [
            name
            for name, spec in services.items()
            if not spec.profiles or ALL_PROFILES in active or not active.isdisjoint(spec.profiles)
        ]
    return frozenset(
        dependency_graph.with_dependencies({name: spec.required_dependencies for name, spec in services.items()}, named)
    )


def check_selection(services: Mapping[str, ServiceSpec], only: Iterable[str], profiles: Iterable[str]) -> None:
    """Raise `UsageError` for a service or profile that the manifest does not have."""
    for name in expand_names(tuple(services.values()), only, UsageError):
        if name not in services:
            hint = did_you_mean(name, list(services)) or f" (there are: {', '.join(services) or 'none'})"
            raise UsageError(f"{name}: no such service in the manifest{hint}")
    known = sorted({profile for spec in services.values() for profile in spec.profiles})
    for profile in profiles:
        if profile not in known and profile != ALL_PROFILES:
            hint = did_you_mean(profile, known) or (f" (there are: {', '.join(known)})" if known else "")
            raise UsageError(f"--profile {profile}: no service has this profile{hint}")


def check_dependencies(services: Mapping[str, ServiceSpec], only: Iterable[str], profiles: Iterable[str]) -> None:
    """Raise `UsageError` for a service to start that depends on one whose profiles are all inactive.

    A service that is named activates its own profiles, as in Compose.
    """
    named = _named(services, only)
    active = {*profiles, *(profile for name in named for profile in services[name].profiles)}
    for name in sorted(select_services(services, only, profiles)):
        for needed in services[name].required_dependencies:
            wanted = services[needed].profiles
            if wanted and active.isdisjoint((ALL_PROFILES, *wanted)) and needed not in named:
                raise UsageError(
                    f"{name}: depends on {needed}, which is only in the profile {' or '.join(wanted)}"
                    f" — add --profile {wanted[0]}, or name both services"
                )


def _named(services: Mapping[str, ServiceSpec], only: Iterable[str]) -> list[str]:
    """Return the existing services that are named, by their names or groups."""
    return [name for name in known_names(tuple(services.values()), only) if name in services]
