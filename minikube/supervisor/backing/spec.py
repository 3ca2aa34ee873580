"""What to execute for a backing service, and how soon it is restarted. Imports no trio: see the folder's docstring."""

import random
import subprocess
from pathlib import Path

from msgspec import Struct, structs

from minikube.errors import StartError

RETRY_DELAY_S = 0.05
RETRY_MAX_S = 1.0
"""The longest delay: a registry that died must serve again within 2 s."""

STABLE_S = 5.0
"""A process that ran for this long is not counted among the failed starts that make the delay grow."""


class BackingSpec(Struct, frozen=True):
    """The command of a backing service, and the address under which its clients reach it."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    address: str
    """The URL of Redis, or the registry's `host:port`; port 0 until it has chosen one."""


def with_address(spec: BackingSpec, address: str) -> BackingSpec:
    """Return the spec with its listen address replaced, in the command line too.

    A registry that chose its port is restarted on the same port, where its clients look for it.
    """
    argv = tuple(address if word == spec.address else word for word in spec.argv)
    return structs.replace(spec, argv=argv, address=address)


def start_process(spec: BackingSpec) -> "subprocess.Popen[bytes]":
    """Start a backing service without trio; `ProcessTable.adopt` takes it over. Raises `StartError`."""
    try:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=spec.cwd,
            env=spec.env,
            start_new_session=True,  # by its session `ProcessTable` recognizes what it starts
        )
    except OSError as error:
        raise StartError(f"{spec.name}: cannot start {spec.argv[0]}: {error.strerror}") from None


def retry_delay(failures: int) -> float:
    """Return the seconds before the next start: 0 after the first failure in a row, then doubling up to 1 s, ±20 %."""
    if failures <= 1:
        return 0.0
    delay = min(RETRY_DELAY_S * 2.0 ** min(failures - 2, 20), RETRY_MAX_S)
    return delay * (0.8 + 0.4 * random.random())
