"""What `--json` prints where the control API has no shape for it (floor 4): frozen structs, and the shapes of all commands.

Everything else is the API's and the registry's own: `minikube.model`, `minikube.control.client.messages`. It refuses to be made
from anything but what commands know already.
"""

from types import GenericAlias
from typing import Any, Literal

import msgspec
from msgspec import Struct

from minikube.cli.manifest_commands.graph import Node
from minikube.control.client.messages import ApplyReply, ServiceReply
from minikube.doctor.finding import Finding
from minikube.model import Address, Event, Instance, InstanceView, LogLine, Snapshot


class InstanceRow(InstanceView, frozen=True):
    """`ps`: an instance on the board, and what else its line tells. `why` is empty while it is ready or was stopped on
    purpose; `cpu` is per cent of a core, `memory` bytes, of the whole process tree, null until they are known."""

    ready: bool = False
    why: str = ""
    cpu: float | None = None
    memory: int | None = None


class Validation(Struct, frozen=True):
    """`validate`. `problems` are lines that name the file and the key."""

    valid: bool
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Version(Struct, frozen=True):
    """`version`: ours and Python's."""

    version: str
    python: str


class Registered(Struct, frozen=True):
    """`register` and `deregister`: the instance's id."""

    id: str


class Graph(Struct, frozen=True):
    """`graph`."""

    services: tuple[Node, ...]


class Shape(Struct, frozen=True):
    """What one command prints: one `of`, a list of it, or one on each line. `live` is an option that makes lines of a list."""

    kind: Literal["object", "list", "lines"]
    of: Any
    live: str = ""


SHAPES: dict[str, Shape] = {
    "ps": Shape("list", InstanceRow, "-w"),
    "status": Shape("object", Snapshot),
    "describe": Shape("list", ServiceReply),
    "events": Shape("list", Event, "-f"),
    "logs": Shape("lines", LogLine),
    "get": Shape("object", Address),
    "instances": Shape("list", Instance),
    "graph": Shape("object", Graph),
    "config": Shape("object", dict[str, Any]),
    "apply": Shape("object", ApplyReply),
    "doctor": Shape("list", Finding),
    "validate": Shape("object", Validation),
    **dict.fromkeys(("start", "stop", "restart", "kill", "scale", "maintenance", "wait"), Shape("list", InstanceRow)),
    **dict.fromkeys(("register", "deregister"), Shape("object", Registered)),
    "version": Shape("object", Version),
}
"""Of every command with `--json`."""


def output_schema(command: str) -> dict[str, Any]:
    """The JSON Schema of what `command --json` prints; of one line, where it prints lines."""
    shape = SHAPES[command]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(GenericAlias(list, (shape.of,)) if shape.kind == "list" else shape.of),
    }
