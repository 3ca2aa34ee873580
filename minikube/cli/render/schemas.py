"""The output types of each command's `--json`, and their JSON Schema.

Structs stand here where neither the control API nor the registry has one for it; the others are theirs, in
`minikube.model` and `minikube.control.client.messages`.
"""

from types import GenericAlias
from typing import Any, Literal

import msgspec
from msgspec import Struct

from minikube.cli.render.graph_drawing import GraphNode
from minikube.control.client.messages import ApplyReply, ServiceReply
from minikube.doctor.finding import Finding
from minikube.errors import Problem
from minikube.model import Address, Event, Instance, InstanceView, LogLine, Snapshot


class InstanceRow(InstanceView, frozen=True):
    """The output of `ps --json`: an instance, its usage, and why it is not ready.

    `why` is empty while the instance runs and is ready, or was stopped by a command. `cpu` (per cent of a core) and `memory`
    (bytes) are of its whole process tree, null until they are known.
    """

    ready: bool = False
    why: str = ""
    cpu: float | None = None
    memory: int | None = None


class Validation(Struct, frozen=True):
    """The output of `validate --json`. The places of `problems` and `warnings` are from 1, and null where there is none."""

    valid: bool
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    services: tuple[str, ...] = ()


class Version(Struct, frozen=True):
    """The output of `version --json`: the versions of minikube and of Python."""

    version: str
    python: str


class Registered(Struct, frozen=True):
    """The output of `register --json` and `deregister --json`: the id of the instance."""

    id: str


class Graph(Struct, frozen=True):
    """The output of `graph --json`: all services."""

    services: tuple[GraphNode, ...]


class Output(Struct, frozen=True):
    """The form of a command's `--json`: one object of a type, a list of such objects, or one object on each line."""

    kind: Literal["object", "list", "lines"]
    type: Any


OUTPUTS: dict[str, Output] = {
    "ps": Output("list", InstanceRow),
    "status": Output("object", Snapshot),
    "describe": Output("list", ServiceReply),
    "events": Output("list", Event),
    "logs": Output("lines", LogLine),
    "get": Output("object", Address),
    "instances": Output("list", Instance),
    "graph": Output("object", Graph),
    "config": Output("object", dict[str, Any]),
    "apply": Output("object", ApplyReply),
    "doctor": Output("list", Finding),
    "validate": Output("object", Validation),
    **dict.fromkeys(("start", "stop", "restart", "kill", "scale", "maintenance", "wait"), Output("list", InstanceRow)),
    **dict.fromkeys(("register", "deregister"), Output("object", Registered)),
    "version": Output("object", Version),
}
"""By command, for every command that has `--json`."""


def output_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of the output of `command --json`; of one line, where it prints a line for each object."""
    output = OUTPUTS[command]
    schema = msgspec.json.schema(GenericAlias(list, (output.type,)) if output.kind == "list" else output.type)
    _join_description_lines(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _join_description_lines(schema: Any) -> None:
    """Make each description in `schema` one line: msgspec copies docstrings with their line breaks and indentation."""
    match schema:
        case dict():
            if isinstance(description := schema.get("description"), str):
                schema["description"] = " ".join(description.split())
            for value in schema.values():
                _join_description_lines(value)
        case list():
            for value in schema:
                _join_description_lines(value)
