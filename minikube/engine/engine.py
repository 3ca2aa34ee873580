"""Container engines as commands (floor 3, standard library only: the guardian uses it too).

Docker, Podman and nerdctl are driven through their own command, so that contexts, remote hosts and rootless set-ups work as
they do by hand. Everything that this project's supervisor makes there carries a label with its state directory's mark:
two checkouts never meet, and what a killed supervisor left is found by it. It refuses to touch anything without that label.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from minikube.errors import StartError
from minikube.project_dir import CONTAINERS_FILE, write_json
from minikube.text import printable

KINDS = ("docker", "podman", "nerdctl")
LABEL = "mini-kube-discovery"
"""Labels are `mini-kube-discovery.mark`, `.project`, `.service`, `.instance`."""

"""Under `.minikube/` for as long as there may be containers: which engine has them."""

SWEEP_PATIENCE_S = 10.0
ANSWER_PATIENCE_S = 3.0
"""For the first question of a sweep: what hangs is not waited for."""

REMOVED_AT_ONCE = 16
"""Containers that are removed side by side: each takes the engine a few tenths of a second."""

UNREACHABLE = (
    "cannot connect to the docker daemon",
    "error during connect",
    "is the docker daemon running",
    "unable to connect to podman",
    "cannot connect to podman",
    "cannot access containerd socket",
    "permission denied while trying to connect",
)

_CONTAINER_ID = re.compile(r"unable to start container \"?[0-9a-f]{64}\"?: ")


@dataclass(frozen=True)
class Engine:
    """A program that understands Docker's commands. `mark` is this project's state directory, hashed."""

    kind: str
    program: str
    mark: str

    @property
    def force(self) -> tuple[str, ...]:
        """Options of `rm` that end and remove a container at once, its anonymous volumes included."""
        # podman's rm -f waits for a graceful stop, 10 s by default
        return ("--force", "--volumes", *(("--time", "0") if self.kind == "podman" else ()))

    @property
    def label(self) -> str:
        return f"{LABEL}.mark={self.mark}"


def find_engine(wanted: str, state: Path, path: str | None) -> Engine:
    """The engine that the manifest names, or the first on the PATH. Raises `StartError`."""
    for kind in (wanted,) if wanted else KINDS:
        if program := shutil.which(kind, path=path):
            return Engine(kind, program, mark_of(state))
    names = f"{wanted} is" if wanted else "docker, podman and nerdctl are"
    raise StartError(f"containers: {names} not on the PATH — install one, or set containers.engine")


def mark_of(state: Path) -> str:
    """What tells this directory's containers from any other's: 12 hex digits."""
    return sha256(os.fsencode(state)).hexdigest()[:12]


def container_name(project: str, mark: str, instance: str) -> str:
    return f"minikube-{project}-{mark[:8]}-{instance}"


def is_unreachable(text: str) -> bool:
    """Whether an engine's complaint means that it does not run at the moment."""
    lowered = text.lower()
    return any(words in lowered for words in UNREACHABLE)


def complaint(text: str) -> str:
    """The line of an engine's output that says what is wrong, without what every line of it starts with."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if "error" in line.lower()] or lines
    line = said[-1] if said else "it said nothing"
    for head in ("docker: ", "Error response from daemon: ", "Error: ", "ERROR: ", "error: "):
        line = line.removeprefix(head)
    line = _CONTAINER_ID.sub("", line)
    for middle in ("unable to start container process: ", "OCI runtime exec failed: ", "OCI runtime create failed: "):
        line = line.rpartition(middle)[2]
    return line.removesuffix(".").removesuffix(": unknown").removesuffix(": OCI permission denied").strip()


# ---------------------------------------------------------------- what is left


@dataclass(frozen=True)
class EngineLeftovers:
    """What an engine still has of this project. `names`: as far as they are known.

    `given_up`: by a stop just now, so that nobody need ask again at once.
    """

    kind: str
    names: tuple[str, ...] = ()
    given_up: bool = False

    def __str__(self) -> str:
        what = ", ".join(map(printable, self.names)) or "what an earlier run left"
        them = "it" if len(self.names) == 1 else "them"
        end = f"the next `minikube up` or `minikube down` removes {them}, once {self.kind} answers"
        return f"{self.kind} did not answer and still has {what} — {end}"


def record(state: Path, engine: Engine, left: EngineLeftovers | None = None) -> None:
    """Before the first container: who has to be asked for them if we are killed. At the end: what could not be removed."""
    said = {"kind": engine.kind, "program": engine.program, "mark": engine.mark}
    rest = {"left": left.names, "given_up": left.given_up} if left else {}
    write_json(state / CONTAINERS_FILE, said | rest)


def recorded(state: Path) -> tuple[Engine, EngineLeftovers] | None:
    """The engine that may have something of this directory's project, and what, as far as that is known."""
    try:
        found = json.loads((state / CONTAINERS_FILE).read_text())
        engine = Engine(str(found["kind"]), str(found["program"]), str(found["mark"]))
        return engine, EngineLeftovers(engine.kind, tuple(map(str, found.get("left", ()))), bool(found.get("given_up")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget(state: Path) -> None:
    """Nothing of ours is at any engine any more."""
    (state / CONTAINERS_FILE).unlink(missing_ok=True)


def sweep_recorded(state: Path) -> tuple[list[str], EngineLeftovers | None]:
    """Removes what an earlier supervisor of this directory left at its engine: the containers' names, and what stays there.

    Where the engine does not answer, the record stays for the next time.
    """
    found = recorded(state)
    if found is None:
        return [], None
    swept = sweep(found[0], SWEEP_PATIENCE_S)
    if swept is None:
        return [], EngineLeftovers(found[1].kind, found[1].names)
    forget(state)
    return swept, None


def sweep(engine: Engine, patience: float) -> list[str] | None:
    """Removes every container and network with this project's label; the containers' names, None if it could not."""
    end = time.monotonic() + patience
    listing = ("ps", "--all", "--filter", f"label={engine.label}", "--format", "{{.Names}}")
    listed = _ask(engine, time.monotonic() + min(patience, ANSWER_PATIENCE_S), *listing)
    if listed is None:
        return None
    names = listed.split()
    while names:
        now, names = names[:REMOVED_AT_ONCE], names[REMOVED_AT_ONCE:]
        _side_by_side(end, ([engine.program, "rm", *engine.force, name] for name in now))
    networks = _ask(engine, end, "network", "ls", "--filter", f"label={engine.label}", "--format", "{{.Name}}")
    for name in (networks or "").split():
        _ask(engine, end, "network", "rm", name)
    left = _ask(engine, end, *listing)
    return listed.split() if left == "" else None


def _ask(engine: Engine, end: float, *arguments: str) -> str | None:
    """What a command printed; None when it failed or took too long."""
    try:
        done = subprocess.run(
            [engine.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=max(end - time.monotonic(), 0.1),
            env=client_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _side_by_side(end: float, commands: Iterable[list[str]]) -> None:
    null = subprocess.DEVNULL
    started = [subprocess.Popen(command, stdin=null, stdout=null, stderr=null) for command in commands]
    for one in started:
        try:
            one.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


# ---------------------------------------------------------------- what a client sees and passes on

CLIENT_NAMES = (
    "DOCKER_",
    "BUILDKIT_",
    "BUILDX_",
    "BUILDAH_",
    "CONTAINER",
    "PODMAN_",
    "NERDCTL_",
    "REGISTRY_",
    "LD_",
    "GO",
)


def client_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the engine's command itself is started with."""
    return {**environ, "DOCKER_CLI_HINTS": "false", "DOCKER_SCAN_SUGGEST": "false", "BUILDKIT_PROGRESS": "plain"}


def split_environment(env: Mapping[str, str], environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """A container's variables: those that may stand in the client's own environment, and those that would change the client.

    The first are passed as `--env NAME`, the second in a file (`--env-file`): no value is ever on a command line.
    Raises `StartError` for a value that a file cannot hold.
    """
    plain = {name: value for name, value in env.items() if name not in environ and not name.startswith(CLIENT_NAMES)}
    filed = {name: value for name, value in env.items() if name not in plain}
    for name, value in filed.items():
        if "\n" in value or "\r" in value:
            raise StartError(f"env.{name}: a line break cannot be handed to a container in this variable — rename it")
    return plain, filed
