"""Start one command: fork and exec, and all code that runs in the child between the two.

A child starts with a new session, /dev/null as stdin, pipes as stdout and stderr, its user and groups, umask, resource
limits and control groups, and the default disposition of SIGPIPE and SIGXFSZ. It refuses to remember the child:
`process_table` does.
"""

import errno
import functools
import subprocess
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from msgspec import Struct

from minikube.errors import ResourceExhausted, StartError
from minikube.linux.cgroup import Group, join_groups
from minikube.linux.credentials import Credentials
from minikube.linux.rlimits import Rlimit, apply_rlimits
from minikube.supervisor.runtime.failures import SHORTAGES


class Command(Struct, frozen=True):
    """A command to execute, and the attributes that its process has from the start."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    owner: str = ""
    """The id of the instance or backing service that the process tree belongs to."""
    credentials: Credentials = Credentials()
    umask: int = -1
    """-1: the supervisor's umask."""
    rlimits: Mapping[str, int | float] = {}
    """Limits of each process, by name (`nofile`); -1 is unlimited."""
    group_limits: Mapping[str, int | float] = {}
    """Limits of the whole tree: `memory` (bytes), `cpus` and `pids`."""


def spawn(command: Command, limits: list[Rlimit], group: Group | None) -> "subprocess.Popen[bytes]":
    """Start the command in the control group and return its process. Blocks until the child has called exec.

    Raises as `subprocess.Popen`.
    """
    credentials = command.credentials
    with group.open_for_child() if group and command.group_limits else nullcontext(()) as group_files:
        popen = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=command.cwd,
            env=command.env,
            start_new_session=True,
            restore_signals=True,
            user=credentials.user,
            group=credentials.group,
            extra_groups=credentials.groups,
            umask=command.umask,
            # Only where it is needed: with it subprocess uses fork instead of vfork, and Python code runs in the child.
            preexec_fn=functools.partial(_before_exec, limits, group_files) if limits or group_files else None,
        )
    if group is not None:
        group.add(popen.pid)
    return popen


def _before_exec(limits: list[Rlimit], group_files: tuple[int, ...]) -> None:
    """Join the control groups and set the resource limits, in the child, between fork and exec.

    Limits that the supervisor sets later would miss the first instructions, and children that were forked by then.
    """
    join_groups(group_files)
    apply_rlimits(limits)


def start_error(command: Command, error: OSError) -> StartError:
    """Return the error for a command that could not be started, in one line with advice.

    A shortage of memory, processes, descriptors or disk space is a `ResourceExhausted`, anything else a `StartError`.
    """
    program = command.argv[0]
    if error.errno in SHORTAGES:
        return ResourceExhausted(f"cannot start {program}: {error.strerror} — trying again")
    if error.filename is not None and str(error.filename) == str(command.cwd):
        return StartError(f"cannot start {program}: its directory {command.cwd}: {error.strerror} — set cwd")
    if error.errno == errno.ENOENT:
        return StartError(f"command not found: {program} — install it or set command")
    if error.errno == errno.ENOEXEC:
        return StartError(f"{program} is neither a program nor a script with a #! line")
    return StartError(f"cannot execute {program}: {error.strerror}")
