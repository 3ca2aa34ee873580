"""The tree: values of TOML files with their places, which stay with them when trees of several files are merged."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from minikube.manifest.tree.paths import Part, join_path
from minikube.manifest.tree.positions import Spot


class Source:
    """One file that was read: its name as messages show it, and its text for lines and columns.

    `index` is its number among the files of a manifest, from 0.
    """

    def __init__(self, file: str, text: str = "", index: int = 0) -> None:
        self.file = file
        self.text = text
        self.index = index

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        while found := self.text.find("\n", starts[-1]) + 1:
            starts.append(found)
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and the column, both from 1 and in characters, of an offset in the text."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1


class Node:
    """A value of a file with its place: a table of nodes by key, a list of nodes, or a scalar.

    A merged table has its own place and the nodes of both tables. Nodes are not changed once they are made.
    """

    __slots__ = ("key", "name", "origin", "source", "value", "value_at")

    def __init__(self, value: Any, source: Source, key: int, value_at: int, origin: "Node | None", name: Part) -> None:
        self.value = value
        self.source = source
        self.key = key
        """The offset of the key."""
        self.value_at = value_at
        """The offset of the value."""
        self.origin = origin
        """The node that contains this one in its file; None for the whole file."""
        self.name = name

    @property
    def path(self) -> str:
        """The key path in the node's own file, whatever tree it was merged into."""
        parts: list[Part] = []
        node = self
        while node.origin is not None:
            parts.append(node.name)
            node = node.origin
        return join_path(reversed(parts))

    def with_value(self, value: Any) -> "Node":
        """Return a node with another value at the same place."""
        return Node(value, self.source, self.key, self.value_at, self.origin, self.name)

    def child(self, name: str) -> "Node | None":
        """Return the node of a key of this table; None where there is none, or this is no table."""
        found = self.value.get(name) if isinstance(self.value, dict) else None
        return found if isinstance(found, Node) else None

    def plain(self) -> Any:
        """Return the value without places, as `tomllib` would."""
        match self.value:
            case dict() as table:
                return {name: node.plain() for name, node in table.items()}
            case list() as items:
                return [node.plain() for node in items]
            case scalar:
                return scalar

    def find(self, parts: Sequence[Part]) -> tuple["Node", bool]:
        """Return the node at a path below this one and True; where there is none, the nearest that would hold it and False.

        A name leads to the item of a list with this value, too: `depends_on.web` to the `"web"` in `depends_on = ["web"]`.
        """
        node = self
        for part in parts:
            match node.value:
                case dict() as table if part in table:
                    node = table[part]
                case list() as items if isinstance(part, int) and part < len(items):
                    node = items[part]
                case list() as items if named := [item for item in items if item.value == part]:
                    node = named[0]
                case _:
                    return node, False
        return node, True


def make_tree(raw: dict[str, Any], spots: Spot, source: Source) -> Node:
    """Return the tree of a file: `raw` is its content as `tomllib` gives it, `spots` are the places in its text."""
    return _make(raw, spots, source, None, "")


def _make(raw: Any, spot: Spot, source: Source, origin: Node | None, name: Part) -> Node:
    node = Node(raw, source, spot.key, spot.value, origin, name)
    inner = spot.inner
    if isinstance(raw, dict):
        node.value = {key: _make(value, inner.get(key, spot), source, node, key) for key, value in raw.items()}
    elif isinstance(raw, list):
        node.value = [_make(item, inner.get(index, spot), source, node, index) for index, item in enumerate(raw)]
    return node
