"""The service that is being written, and what the readers of its keys share: texts with their variables, notes, paths."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from minikube.importers.compose import values
from minikube.importers.compose.files import ComposeProject
from minikube.importers.compose.variables import rewrite
from minikube.importers.result import KeyPath, Span
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, is_nothing
from minikube.manifest.variables.shared import LISTEN_VARIABLES


class ProjectNames(Struct, frozen=True):
    """The names of services, volumes and networks in the manifest."""

    services: Mapping[str, str]
    """By the name in the Compose file, for services: a DNS label."""
    checked: frozenset[str]
    """The Compose names of services with a health check."""
    aliases: Mapping[str, list[tuple[str, Span]]]
    """By the Compose name of a service, the names that `links` of others give it."""
    sections: Mapping[str, Mapping[str, Entry]]
    """The top-level `volumes`, `secrets` and so on, by name."""
    compose_project: str
    """The name of the project in Compose, with which the names of its volumes begin at the engine."""
    one_network: bool
    """Whether all services are on the same network in the Compose file, too."""


class ServiceDraft:
    """A service that is being written: its keys so far in the manifest's shape."""

    def __init__(self, project: ComposeProject, names: ProjectNames, source_name: str, entry: Entry) -> None:
        assert isinstance(entry.value, Table)
        self.project = project
        self.names = names
        self.source_name = source_name
        self.span = entry.span
        self.table = entry.value
        self.name = names.services[source_name]
        self.out: dict[str, Any] = {}

    # ------------------------------------------------------------ notes

    def inexact(self, span: Span, key: str, text: str, *path: str | int) -> None:
        """Add a note on a key that is taken with a difference. Its comment stands at the manifest's key `path`."""
        self.project.notes.inexact(span, f"services.{self.source_name}.{key}", self.path(*path), text)

    def refuse(self, span: Span, key: str, text: str) -> None:
        """Add a note on a key that is left out."""
        self.project.notes.refuse(span, f"services.{self.source_name}.{key}", text)

    def path(self, *parts: str | int) -> KeyPath:
        """Return the path of a key of this service in the manifest."""
        return ("services", self.name, *parts)

    def has(self, key: str) -> bool:
        """Return whether the Compose file gives a key a value."""
        node = self.table.get(key)
        return node is not None and not is_nothing(node)

    # ------------------------------------------------------------ values

    def text(self, node: Node, key: str, *path: str | int, later: bool = False) -> str | None:
        """Return a scalar as a string of the manifest; None after a note.

        `later` is as for `rewrite`; notes on variables stand at the manifest's key `path`.
        """
        if not isinstance(node, Scalar) or node.value is None:
            self.refuse(node.span, key, f"expected a string, got {node.kind}")
            return None
        own = [name for name in LISTEN_VARIABLES if name in self.project.dotenv]
        found = rewrite(node.text, later=later, own=own)
        if found.problem:
            self.refuse(node.span, key, found.problem)
            return None
        if "\0" in found.text:
            self.refuse(node.span, key, "expected no NUL character")
            return None
        for note in found.notes:
            self.inexact(node.span, key, note, *path)
        return found.text

    def texts(self, node: Node, key: str, *path: str | int, later: bool = False) -> list[str] | None:
        """Return a list of scalars, or a lone one, as strings; None after a note where one of them is none."""
        if isinstance(node, Items):
            items: Iterable[Node] = node.items
        elif isinstance(node, Scalar):
            items = (node,)
        else:
            self.refuse(node.span, key, f"expected a list of strings, got {node.kind}")
            return None
        found = [self.text(item, key, *path, later=later) for item in items]
        return None if None in found else [text for text in found if text is not None]

    def flag(self, entry: Entry, key: str) -> bool:
        """Return a boolean; false after a note where it is none."""
        value = entry.value.value if isinstance(entry.value, Scalar) else None
        if isinstance(value, bool):
            return value
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "y": True,
            "false": False,
            "no": False,
            "off": False,
            "n": False,
        }
        if isinstance(value, str) and value.lower() in words:  # Compose takes these for a key that is a boolean
            return words[value.lower()]
        self.refuse(entry.span, key, f"expected true or false, got {entry.value.kind}")
        return False

    def number(self, node: Node, key: str, least: int, most: int) -> int | str | None:
        """Return an integer, or a text with a variable that gives one; None after a note."""
        text = self.text(node, key)
        if text is None:
            return None
        if re.fullmatch(r"\$\{.*\}", text):
            return text
        if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
            return int(text)
        self.refuse(node.span, key, f"expected a number from {least} to {most}")
        return None

    def duration(self, entry: Entry, key: str, *path: str) -> str | None:
        """Return a duration in the manifest's form; None after a note."""
        return self._converted(values.duration, "a duration such as 30s or 1m30s", entry, key, *path)

    def size(self, entry: Entry, key: str, *path: str) -> str | None:
        """Return a size in the manifest's form; None after a note."""
        return self._converted(values.size, "a size such as 512m", entry, key, *path)

    def _converted(
        self, convert: Callable[[str], str], expected: str, entry: Entry, key: str, *path: str
    ) -> str | None:
        text = self.text(entry.value, key, *path)
        if text is None:
            return None
        try:
            return convert(text)
        except ValueError:
            self.refuse(entry.span, key, f"expected {expected}")
            return None

    def entries(self, entry: Entry, key: str) -> Mapping[str, Entry]:
        """Return the entries of a table, without extensions; empty after a note where it is none, and for nothing."""
        if isinstance(entry.value, Table):
            return {name: item for name, item in entry.value.entries.items() if not name.startswith("x-")}
        if not is_nothing(entry.value):
            self.refuse(entry.span, key, f"expected a table, got {entry.value.kind}")
        return {}

    def file_path(self, text: str, span: Span, key: str, *path: str | int) -> str:
        """Return a path of the Compose file as the manifest has it. A note stands at the manifest's key `path`."""
        destination = self.project.destination
        if destination.moves and text.startswith("$"):
            self.inexact(span, key, "a relative path in the variable is one from the manifest's directory here", *path)
        return destination.path(text, base=self.project.directory_of(span))

    def add_engine_args(self, span: Span, key: str, *words: str, note: str = "") -> None:
        """Add words for the engine's `create`, with a comment where there is a `note`."""
        args = self.out.setdefault("engine_args", [])
        if note:
            self.inexact(span, key, note, "engine_args", len(args))
        args.extend(words)

    def refuse_unknown(
        self, entries: Mapping[str, Entry], prefix: str, known: Iterable[str], reasons: Mapping[str, str] = {}
    ) -> None:
        """Add a note for each key of a table that is not `known`, with its reason where there is one."""
        for name, entry in entries.items():
            if name not in known:
                self.refuse(entry.span, f"{prefix}.{name}", reasons.get(name, "has no counterpart in a manifest"))
