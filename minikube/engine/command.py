"""The program of a container engine: find it, name and label this project's containers, read its error messages.

Docker, Podman and nerdctl are driven through their own command, so that contexts, remote hosts and rootless set-ups work as
they do by hand. Standard library only, because the guardian imports it. It refuses to run the program: `linux.commands` and
`supervisor.runtime.container.client` do.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from minikube.defaults import CONTAINER_LABEL
from minikube.errors import StartError

KINDS = ("docker", "podman", "nerdctl")
"""The engines that are supported, in the order in which they are looked for."""

UNREACHABLE = (
    "cannot connect to the docker daemon",
    "error during connect",
    "is the docker daemon running",
    "unable to connect to podman",
    "cannot connect to podman",
    "cannot access containerd socket",
    "permission denied while trying to connect",
)
"""Phrases of an error message that mean: the engine's daemon does not run or cannot be reached."""

_ADVICE = re.compile(r"\s*(Run|See) '.* --help'|\s*Usage: ")
"""What engines print below the error in a command line."""

_CONTAINER_ID = re.compile(r"unable to start container \"?[0-9a-f]{64}\"?: ")


@dataclass(frozen=True)
class Engine:
    """A container engine for one project: its kind, its program, and the value of the project's label."""

    kind: str
    program: str
    mark: str
    """The value of the label `mini-kube-discovery.mark`: see `project_mark`."""

    @property
    def remove_options(self) -> tuple[str, ...]:
        """The options of `rm` that kill and remove a container together with its anonymous volumes."""
        # podman's rm --force waits 10 s for a graceful stop unless --time says otherwise.
        return ("--force", "--volumes", *(("--time", "0") if self.kind == "podman" else ()))

    @property
    def label(self) -> str:
        """The label, as `name=value`, of everything that this project's supervisor creates at the engine."""
        return f"{CONTAINER_LABEL}.mark={self.mark}"


def find_engine(wanted: str, project_dir: Path, path: str | None) -> Engine:
    """Return the engine that the manifest names, or the first of `KINDS` on the search path.

    `wanted` is the manifest's `containers.engine` (empty: any), `path` the value of PATH. Raises `StartError`.
    """
    for kind in (wanted,) if wanted else KINDS:
        if program := shutil.which(kind, path=path):
            return Engine(kind, program, project_mark(project_dir))
    names = f"{wanted} is" if wanted else "docker, podman and nerdctl are"
    raise StartError(f"containers: {names} not on the PATH — install one, or set containers.engine")


def project_mark(project_dir: Path) -> str:
    """Return 12 hex digits that distinguish this checkout's containers from those of any other checkout."""
    return sha256(os.fsencode(project_dir)).hexdigest()[:12]


def container_name(project: str, mark: str, instance: str) -> str:
    """Return the name at the engine of an instance's container, of an image or of a network."""
    return f"minikube-{project}-{mark[:8]}-{instance}"


def is_unreachable(text: str) -> bool:
    """Return whether an engine's error message means that its daemon cannot be reached now."""
    lowered = text.lower()
    return any(words in lowered for words in UNREACHABLE)


def error_line(text: str) -> str:
    """Return the line of an engine's output that names the error, without the prefixes that engines put before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _ADVICE.match(line)]
    errors = [line for line in lines if "error" in line.lower()] or lines
    line = errors[-1] if errors else "no error message"
    for head in ("docker: ", "Error response from daemon: ", "Error: ", "ERROR: ", "error: "):
        line = line.removeprefix(head)
    line = _CONTAINER_ID.sub("", line)
    for middle in ("unable to start container process: ", "OCI runtime exec failed: ", "OCI runtime create failed: "):
        line = line.rpartition(middle)[2]
    return line.removesuffix(".").removesuffix(": unknown").removesuffix(": OCI permission denied").strip()


def client_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the engine's own command: `environ`, with hints off and plain build progress."""
    return {**environ, "DOCKER_CLI_HINTS": "false", "DOCKER_SCAN_SUGGEST": "false", "BUILDKIT_PROGRESS": "plain"}
