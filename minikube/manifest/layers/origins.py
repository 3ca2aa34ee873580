"""Where each value of a manifest comes from: a file with line and column, `[defaults]`, an extended service, a variable.

It takes the values as `dump` shows them, with secrets masked.
"""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from minikube.defaults import REDIS_ENV
from minikube.manifest.diagnostics import ManifestReading, VariableUse
from minikube.manifest.tree.node import Node
from minikube.manifest.tree.paths import Part, append_index, append_key, join_path, split_path
from minikube.manifest.variables.shared import REDIS_VARIABLE
from minikube.text import printable

PYTHON_VARIABLE = "MINIKUBE_PYTHON"

Kind = Literal["file", "override", "defaults", "extends", "shared", "variable", "directory", "default"]
VariableSource = Literal["environment", "env_file", "default", "unset", "shell", "instance", "minikube"]


class VariableOrigin(Struct, frozen=True):
    """Where a variable in a value comes from.

    `default` is the one in `${VAR:-default}`. What is `unset` is empty; what a `shell` or an `instance` knows stays in place.
    """

    name: str
    source: VariableSource
    file: str | None = None
    """The `.env` file; None for other sources."""
    line: int | None = None
    column: int | None = None


class Origin(Struct, frozen=True):
    """A value of a manifest, and where it comes from."""

    path: str
    """The full path of the key."""
    value: Any
    kind: Kind
    """`file`: the first file; `override`: a later one; `shared`: `[env]` or `env_file` of the whole manifest.

    `variable`: no key, but a variable sets it; `directory`: the name of the project's directory."""
    file: str | None = None
    """None where no file has the value."""
    line: int | None = None
    column: int | None = None
    service: str = ""
    """With `extends`: the service that has the value."""
    variables: tuple[VariableOrigin, ...] = ()


def find_origins(reading: ManifestReading, tree: dict[str, Any]) -> list[Origin]:
    """Return the origin of each value in `tree`, a dumped manifest that was read with `reading`."""
    return [_Search(reading).origin(parts, value) for parts, value in _leaves(tree, ())]


def _leaves(value: Any, parts: tuple[Part, ...]) -> Iterator[tuple[tuple[Part, ...], Any]]:
    """Yield each value that is no table, with its path. A list is one value."""
    if not isinstance(value, dict):
        yield parts, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, (*parts, name))


class _Search:
    """Finds origins in the tree of a manifest."""

    def __init__(self, reading: ManifestReading) -> None:
        self.reading = reading

    def origin(self, parts: tuple[Part, ...], value: Any) -> Origin:
        """Return the origin of the value at a path."""
        path = join_path(parts)
        for written in self._places(parts):
            if (found := self._written(written)) is not None:
                node, at = found
                kind, service = self._kind(node, written)
                line, column = node.source.position(node.value_at)
                return Origin(path, value, kind, node.source.file, line, column, service, self._variables(at))
        variable = ""
        if parts == ("redis", "url"):
            variable = REDIS_ENV
        elif parts[-2:] == ("env", REDIS_VARIABLE):
            variable = REDIS_VARIABLE
        if variable and variable in self.reading.variables:
            return Origin(path, value, "variable", variables=(self._variable(VariableUse(variable, "value")),))
        return Origin(path, value, "directory" if path == "name" else "default")

    def _places(self, parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
        """Yield the paths at which a value may be written, the first one before the others."""
        yield parts
        match parts:
            case ("services", name, "command"):
                yield ("services", name, "args")
            case ("services", _, "env" | "env_file" as key, *rest):
                yield (key, *rest)

    def _written(self, parts: tuple[Part, ...]) -> tuple[Node, str] | None:
        """Return the node that says the value at a path, and its own path; None where none does.

        A short form says the values of the table that it is short for.
        """
        node, path = self.reading.tree, ""
        for part in parts:
            match node.value:
                case dict() as table if part in table:
                    node, path = table[part], append_key(path, str(part))
                case list() as items if named := [index for index, item in enumerate(items) if item.value == part]:
                    node, path = items[named[0]], append_index(path, named[0])
                case dict():
                    return None
                case _:
                    break
        return node, path

    def _kind(self, node: Node, written: tuple[Part, ...]) -> tuple[Kind, str]:
        """Return the kind of origin, and the name of the extended service."""
        match split_path(node.path):
            case ["defaults", *_]:
                return "defaults", ""
            case ["services", name, *_] if written[:2] != ("services", name):
                return "extends", str(name)
            case ["env" | "env_file", *_]:
                return "shared", ""
        return ("override" if node.source.index else "file"), ""

    def _variables(self, path: str) -> tuple[VariableOrigin, ...]:
        """Return the variables in the value at a path."""
        uses: dict[VariableUse, None] = {}
        for used, found in self.reading.uses.items():
            if used == path or used.startswith((f"{path}.", f"{path}[")):
                uses |= found
        return tuple(map(self._variable, uses))

    def _variable(self, use: VariableUse) -> VariableOrigin:
        reading = self.reading
        match use.kind:
            case "default" | "unset" | "instance":
                return VariableOrigin(use.name, use.kind)
            case "kept":
                return VariableOrigin(use.name, "shell")
        if use.name == PYTHON_VARIABLE:
            return VariableOrigin(use.name, "minikube")
        if use.name in reading.environ or use.name not in reading.dotenv_positions:
            return VariableOrigin(use.name, "environment")
        file = printable(str(reading.dotenv_path))
        return VariableOrigin(use.name, "env_file", file, *reading.dotenv_positions[use.name])
