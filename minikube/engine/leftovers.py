"""Containers and networks that an earlier run left at an engine: the record of the engine in use, and their removal.

Everything that a supervisor creates at an engine carries a label with the project's mark, so containers of two checkouts
are never confused, and those of a killed supervisor are found again. Standard library only, because the guardian imports
it. It refuses to touch anything without that label.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from minikube.engine.command import Engine, client_environment
from minikube.linux.commands import run_command, run_commands
from minikube.project.run_name import is_of_other_directory
from minikube.project_dir import CONTAINERS_FILE, origin, write_json
from minikube.text import printable

REMOVE_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 3.0
"""For the first question to the engine: an engine that hangs must not hold up a start or a stop for longer."""

PARALLEL_REMOVALS = 16
"""How many containers are removed side by side: each takes the engine a few tenths of a second."""


@dataclass(frozen=True)
class EngineLeftovers:
    """What an engine still has of this project. `names` lists containers and networks, as far as they are known."""

    kind: str
    names: tuple[str, ...] = ()
    given_up: bool = False
    """Whether a stop has just given up on this engine, so that the guardian need not ask it again."""

    def __str__(self) -> str:
        what = ", ".join(map(printable, self.names)) or "what an earlier run left"
        them = "it" if len(self.names) == 1 else "them"
        end = f"the next `minikube up` or `minikube down` removes {them}, once {self.kind} answers"
        return f"{self.kind} did not answer and still has {what} — {end}"


def record_engine(project_dir: Path, engine: Engine, leftovers: EngineLeftovers | None = None) -> None:
    """Write down which engine has containers of this project, and what could not be removed there. Raises OSError.

    It is called before the first container is created, so that the containers of a killed supervisor are found again.
    """
    content = {"kind": engine.kind, "program": engine.program, "mark": engine.mark, **origin(project_dir)}
    rest = {"left": leftovers.names, "given_up": leftovers.given_up} if leftovers else {}
    write_json(project_dir / CONTAINERS_FILE, content | rest)


def read_engine_record(project_dir: Path) -> tuple[Engine, EngineLeftovers] | None:
    """Return the recorded engine and what it may still have of the project; None without a record or a damaged one."""
    try:
        found = json.loads((project_dir / CONTAINERS_FILE).read_text())
        if is_of_other_directory(found, project_dir):
            return None  # its containers are those of the original
        engine = Engine(str(found["kind"]), str(found["program"]), str(found["mark"]))
        return engine, EngineLeftovers(engine.kind, tuple(map(str, found.get("left", ()))), bool(found.get("given_up")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget_engine(project_dir: Path) -> None:
    """Remove the record: no engine has anything of this project any more."""
    (project_dir / CONTAINERS_FILE).unlink(missing_ok=True)


def remove_leftovers(project_dir: Path) -> tuple[list[str], EngineLeftovers | None]:
    """Remove what an earlier run left at the recorded engine; return the removed containers' names and what is still there.

    Where the engine does not answer, the record stays for the next try.
    """
    record_engine = read_engine_record(project_dir)
    if record_engine is None:
        return [], None
    engine, known = record_engine
    removed = remove_labelled(engine, REMOVE_TIMEOUT_S)
    if removed is None:
        return [], EngineLeftovers(known.kind, known.names)
    forget_engine(project_dir)
    return removed, None


def remove_labelled(engine: Engine, timeout: float) -> list[str] | None:
    """Remove every container and network with the project's label; return the containers' names.

    None: the engine did not answer, or something is still there after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    listing = ("ps", "--all", "--filter", f"label={engine.label}", "--format", "{{.Names}}")
    listed = _run(engine, time.monotonic() + min(timeout, LIST_TIMEOUT_S), *listing)
    if listed is None:
        return None
    names = listed.split()
    while names:
        batch, names = names[:PARALLEL_REMOVALS], names[PARALLEL_REMOVALS:]
        removals = [[engine.program, "rm", *engine.remove_options, name] for name in batch]
        run_commands(removals, timeout=_seconds_until(end), env=client_environment(os.environ))
    networks = _run(engine, end, "network", "ls", "--filter", f"label={engine.label}", "--format", "{{.Name}}")
    for name in (networks or "").split():
        _run(engine, end, "network", "rm", name)
    # Listed again, because the exit codes of `rm` do not tell whether a container was removed by another process meanwhile.
    remaining = _run(engine, end, *listing)
    return listed.split() if remaining == "" else None


def _run(engine: Engine, end: float, *arguments: str) -> str | None:
    """Return the output of an engine's command; None where it failed or still ran at `end`, a monotonic time."""
    argv = [engine.program, *arguments]
    result = run_command(argv, timeout=_seconds_until(end), env=client_environment(os.environ))
    return result.stdout.strip() if result.status == 0 else None


def _seconds_until(end: float) -> float:
    return max(end - time.monotonic(), 0.1)
