"""A command to start, what its process gets, and the error for a start that failed.

It refuses to start the command: the fork server does (`fork_client`).
"""

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from minikube.errors import ResourceExhausted, StartError
from minikube.linux.cgroup import Group
from minikube.linux.credentials import Credentials
from minikube.linux.exec_context import ExecContext, ExecFailure
from minikube.linux.program_file import explain_refusal
from minikube.linux.rlimits import describe_excess, to_rlimits
from minikube.supervisor.runtime.failures import SHORTAGES

# For the environment, of which each start encodes every name and value: `os.fsencode` looks at the type of each, too.
ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


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
    may_use_reserve: bool = True
    """Whether it may take one of the last descriptors, which are kept for commands and the stop of the project."""


def exec_context(command: Command, group: Group | None = None) -> ExecContext:
    """Return the attributes of the command's process, for the fork server. `group` is its control group."""
    credentials = command.credentials
    return ExecContext(
        tuple(os.fsencode(word) for word in command.argv),
        {name.encode(ENCODING, ERRORS): value.encode(ENCODING, ERRORS) for name, value in command.env.items()},
        os.path.abspath(os.fsencode(command.cwd)),  # the fork server is in the root directory
        command.umask,
        tuple((name, number, *pair) for name, number, pair in to_rlimits(command.rlimits)),
        credentials.user,
        credentials.group,
        credentials.groups,
        os.fsencode(group.unified) if group and group.unified else b"",
        tuple(os.fsencode(path) for path in group.legacy) if group else (),
    )


def start_error(command: Command, failure: ExecFailure) -> StartError:
    """Return the error for a command that could not be started, in one line with advice.

    A shortage of memory, processes, descriptors or disk space is a `ResourceExhausted`, anything else a `StartError`.
    """
    program, reason = command.argv[0], os.strerror(failure.errno)
    if failure.stage == "limit":
        return StartError(describe_excess(to_rlimits(command.rlimits)) or f"cannot set limits.{failure.path}: {reason}")
    if failure.errno in SHORTAGES:
        return ResourceExhausted(f"cannot start {program}: {reason} — trying again")
    if failure.stage == "directory":
        return StartError(
            f"cannot start {program}: its working directory {command.cwd}: {reason.lower()} — create it or set cwd"
        )
    if failure.stage != "exec":
        return StartError(f"cannot start {program}: {failure}")
    if failure.errno == errno.ENOENT and not failure.path:
        return StartError(f"command not found: {program} — install it or set command")
    return StartError(f"cannot execute {program}: {explain_refusal(command.cwd / failure.path, failure.errno)}")
