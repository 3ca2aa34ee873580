"""Limits of one process (setrlimit(2)): those of the manifest's `limits` that the kernel keeps per process.

They are set in the child, between fork and exec: later the command would have run with the old limits for a moment, and
another user's process could not be changed. A limit that cannot be set keeps the command from being started. Standard library
only, because `minikube run` imports it.
"""

import contextlib
import fcntl
import os
import resource
from collections.abc import Iterable, Mapping

TABLE_SIZE = 1_024
"""In descriptors, of eight bytes each: more than the supervisor and the registry of some 300 instances have."""

Rlimit = tuple[str, int, tuple[int, int]]
"""The manifest's name, the kernel's number, and (soft, hard)."""


def to_rlimits(limits: Mapping[str, int | float]) -> list[Rlimit]:
    """Return those of `limits` that are limits of a process; -1 is unlimited. `memory`, `cpus` and `pids` are `cgroup`'s."""
    found = []
    for name, value in limits.items():
        # None on a system without this limit, and for the limits of control groups.
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            limit = resource.RLIM_INFINITY if value < 0 else int(value)
            found.append((name, number, (limit, limit)))
    return found


def grow_descriptor_table() -> None:
    """Make room for `TABLE_SIZE` descriptors in this process, where its limit permits them. Call it before any thread starts.

    The kernel doubles the table when it is full. Where a process has threads, it waits for all processors each time, some
    20 ms: three times while a supervisor starts a hundred services.
    """
    with contextlib.suppress(OSError):
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            os.close(fcntl.fcntl(read_end, fcntl.F_DUPFD_CLOEXEC, TABLE_SIZE - 1))
        finally:
            os.close(read_end)
            os.close(write_end)


def describe_excess(limits: Iterable[Rlimit]) -> str:
    """Return which limit is above what this process may set, and what to do; empty where none is."""
    for name, number, (_, wanted) in limits:
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard):
            shown = "unlimited" if wanted == resource.RLIM_INFINITY else str(wanted)
            return f"limits.{name} = {shown}: only root may raise it above {hard} — lower it, or start minikube as root"
    return ""
