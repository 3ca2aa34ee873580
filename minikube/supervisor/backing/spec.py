"""The commands of the backing services (Redis and the registry), and the delay before a restart of one.

Imports no trio: see the folder's docstring.
"""

import random
from pathlib import Path

from msgspec import Struct, structs

from minikube.errors import StartError
from minikube.supervisor.runtime.process.fork_client import ForkServer, ForkServerGone, ProcessStart
from minikube.supervisor.runtime.process.fork_exec import Command, exec_context

RETRY_DELAY_S = 0.05
RETRY_MAX_S = 1.0
"""The longest delay: a registry that died must serve again within 2 s."""

STABLE_S = 5.0
"""A process that ran for this long is not counted among the failed starts that make the delay grow."""


class BackingSpec(Struct, frozen=True):
    """The command of a backing service (Redis or the registry), and the address at which its clients connect to it."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    address: str
    """The URL of Redis, or the registry's `host:port`; port 0 until it has chosen one."""


def with_address(spec: BackingSpec, address: str) -> BackingSpec:
    """Return a copy of `spec` with `address` in place of its old address, also in the command line.

    Used for a registry that chose a free port: a restart must listen on the same port, which its clients know.
    """
    argv = tuple(address if word == spec.address else word for word in spec.argv)
    return structs.replace(spec, argv=argv, address=address)


def backing_command(spec: BackingSpec) -> Command:
    """Return the command of a backing service; its process tree is found by the service's name."""
    return Command(spec.argv, spec.env, spec.cwd, spec.name)


def begin_process(spec: BackingSpec, fork_server: ForkServer) -> ProcessStart:
    """Request the process of a backing service without trio, and return its start. Raises `StartError`.

    Enter it into the process table with `ProcessTable.adopt` once trio runs.
    """
    try:
        return fork_server.begin(exec_context(backing_command(spec)))
    except (OSError, ValueError, ForkServerGone) as error:
        raise StartError(f"{spec.name}: cannot start {spec.argv[0]}: {error}") from None


def retry_delay(failures: int) -> float:
    """Return the seconds to wait before the next start, after `failures` failed runs in a row.

    0 after the first, then doubling from 0.05 s to 1 s, ±20 %.
    """
    if failures <= 1:
        return 0.0
    delay = min(RETRY_DELAY_S * 2.0 ** min(failures - 2, 20), RETRY_MAX_S)
    return delay * (0.8 + 0.4 * random.random())
