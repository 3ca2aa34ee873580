"""setrlimit for a command (floor 3, standard library only): the manifest's `limits` that the kernel keeps per process.

They are set in the child before it is the command, which is the only time at which the command cannot see the old ones
and which another user's process leaves us. What cannot be set keeps the command from being started.
"""

import resource
from collections.abc import Iterable, Mapping

Rlimit = tuple[str, int, tuple[int, int]]
"""Name, number, and (soft, hard)."""


def rlimits(limits: Mapping[str, int | float]) -> list[Rlimit]:
    """Those of `limits` that are rlimits here; -1 is unlimited. The others (memory, cpus, pids) are cgroups'."""
    found = []
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            most = resource.RLIM_INFINITY if value < 0 else int(value)
            found.append((name, number, (most, most)))
    return found


def limit_self(limits: Iterable[Rlimit]) -> None:
    """Raises ValueError or OSError for what cannot be set; `too_high` tells which it was."""
    for _, number, pair in limits:
        resource.setrlimit(number, pair)


def too_high(limits: Iterable[Rlimit]) -> str:
    """Which limit is above what this process may give, in words; empty where none is."""
    for name, number, (_, wanted) in limits:
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard):
            shown = "unlimited" if wanted == resource.RLIM_INFINITY else str(wanted)
            return f"limits.{name} = {shown}: only root may raise it above {hard} — lower it, or start minikube as root"
    return ""
