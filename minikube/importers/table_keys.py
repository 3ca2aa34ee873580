"""The keys of a table of a source, each taken once: values of the expected kind, notes on the others, and on what is not known."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from minikube.importers.result import KeyPath, Notes, Span
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, is_nothing
from minikube.manifest.diagnostics import did_you_mean

T = TypeVar("T")

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})


class TableKeys:
    """The keys of `table`, which the source calls `source` and the manifest has at `path`.

    A key without a value counts as missing. A value of another kind than expected is noted as left out.
    """

    def __init__(self, table: Table, notes: Notes, source: str, path: KeyPath) -> None:
        self.table = table
        self.notes = notes
        self.source = source
        self.path = path
        self._taken: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        entry = self.table.entries.get(key)
        return entry is not None and not is_nothing(entry.value)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self.table.entries)

    def name(self, key: str) -> str:
        """Return the name of a key as notes show it."""
        return f"{self.source}.{key}" if self.source else key

    def span(self, key: str = "") -> Span:
        """Return the lines of a key; without one, of the table."""
        entry = self.table.entries.get(key)
        return entry.span if entry else self.table.span

    def first_line(self) -> Span:
        """Return the first line of the table."""
        return Span(self.table.span.file, self.table.span.line, self.table.span.line)

    def entry(self, key: str) -> Entry | None:
        """Take a key. Returns None where it is missing or has no value."""
        self._taken[key] = None
        entry = self.table.entries.get(key)
        return None if entry is None or is_nothing(entry.value) else entry

    def text(self, key: str) -> str | None:
        """Take a key with a string; a number or a boolean is its text."""
        return self._of_kind(key, scalar_text, "a string")

    def boolean(self, key: str) -> bool | None:
        """Take a key with a boolean, or a word for one."""
        return self._of_kind(key, _boolean, "true or false")

    def integer(self, key: str) -> int | None:
        """Take a key with a whole number, which may stand in quotes."""
        return self._of_kind(key, _integer, "a whole number")

    def strings(self, key: str) -> list[str] | None:
        """Take a key with a list of strings, or one string."""
        return self._of_kind(key, _strings, "a string or a list of strings")

    def items(self, key: str) -> Items | None:
        """Take a key with a list."""
        return self._of_kind(key, lambda node: node if isinstance(node, Items) else None, "a list")

    def below(self, key: str, path: KeyPath) -> "TableKeys | None":
        """Take a key with a table; return its keys, which the manifest has at `path`."""
        table = self._of_kind(key, lambda node: node if isinstance(node, Table) else None, "a table")
        return None if table is None else TableKeys(table, self.notes, self.name(key), path)

    def inexact(self, key: str, target: str | Iterable[str | int], text: str) -> None:
        """Note a difference at the manifest's key `target`, below `path`; "": at the table itself."""
        below = ((target,) if target else ()) if isinstance(target, str) else tuple(target)
        self.notes.inexact(self.span(key), self.name(key), (*self.path, *below), text)

    def refuse(self, key: str, text: str) -> None:
        """Take a key, and note why it is left out; do nothing else where it is missing."""
        self._taken[key] = None
        if key in self.table.entries:
            self.notes.refuse(self.span(key), self.name(key), text)

    def refuse_all(self, reasons: Mapping[str, str]) -> None:
        """Take the keys that have no counterpart, each with its reason."""
        for key, reason in reasons.items():
            self.refuse(key, reason)

    def finish(self, tool: str) -> None:
        """Note each key that was not taken. Keys that begin with `x-` mean nothing to a tool; anchors stand there.

        Call it once all keys that the tool has were taken, whether they are there or not: the nearest of them is named.
        """
        for key in self.table.entries:
            if key not in self._taken and not key.startswith("x-"):
                text = f"is no key of {tool}{did_you_mean(key, self._taken)}"
                self.notes.refuse(self.span(key), self.name(key), text)

    def _of_kind(self, key: str, convert: Callable[[Node], T | None], kind: str) -> T | None:
        entry = self.entry(key)
        if entry is None:
            return None
        value = convert(entry.value)
        if value is None:
            self.refuse(key, f"expected {kind}, got {entry.value.kind}")
        return value


def scalar_text(node: Node) -> str | None:
    """Return the text of a string, number or boolean; None for others."""
    return node.text if isinstance(node, Scalar) and node.value is not None else None


def _boolean(node: Node) -> bool | None:
    word = (scalar_text(node) or "").lower()
    return word in _TRUE if word in _TRUE | _FALSE else None


def _integer(node: Node) -> int | None:
    text = (scalar_text(node) or "").strip()
    if not isinstance(node, Scalar) or len(text) > 15:
        return None
    if isinstance(node.value, float):
        return int(node.value) if node.value.is_integer() and abs(node.value) < 1e15 else None
    return int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else None


def _strings(node: Node) -> list[str] | None:
    nodes = node.items if isinstance(node, Items) else (node,)
    texts = [scalar_text(item) for item in nodes]
    return None if None in texts else [text for text in texts if text is not None]
