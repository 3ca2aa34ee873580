"""Where each key, value and list item stands in a TOML text: `tomllib` does not tell.

The text is one that `tomllib` has accepted, so this reader finds the ends of keys and values and checks nothing. It reads each
character once. It refuses to give values.
"""

import contextlib
import re
import tomllib
from typing import NamedTuple

from minikube.manifest.tree.paths import Part, join_path

MAX_DEPTH = 100
"""How deep tables and lists may be nested: each level costs the readers of the tree a few frames of Python's stack."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*+")
_SPACE = re.compile(r"[ \t]*+")
_KEY = re.compile(r"""([A-Za-z0-9_-]++)|("(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')""")
_STRING = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}|\'{3}(?:[^']++|'(?!''))*+'{3,5}|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+\'''',
    re.DOTALL,
)
_OTHER = re.compile(r"[^,\]}\n#]++")
"""A number, a boolean or a time."""


class NestedTooDeeply(Exception):
    """A value of the text is nested deeper than `MAX_DEPTH`; `offset` is its place."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Spot:
    """The place of one value, as offsets in the text, and the spots of what it contains."""

    __slots__ = ("inner", "is_array", "key", "value")

    def __init__(self, key: int, value: int) -> None:
        self.key = key
        """The offset of the key; of a list's item, that of the item."""
        self.value = value
        """The offset of the value; of a table that has a header or dotted keys, that of its name there."""
        self.is_array = False
        """Whether this is a list that `[[…]]` makes."""
        self.inner: dict[Part, Spot] = {}


def read_spots(text: str) -> Spot:
    """Return the spot of the whole document `text`. Raises NestedTooDeeply.

    After anything that this reader does not understand, the spots of what came before are returned.
    """
    reader = _Reader(text)
    # A later version of TOML may go on in another way: what has no spot is shown at the place of what holds it.
    with contextlib.suppress(_NotUnderstood, IndexError, tomllib.TOMLDecodeError):
        reader.read_document()
    return reader.root


class DoubledKey(NamedTuple):
    """A key or a table that a text has twice: its name as written, and the offsets of both."""

    name: str
    first: int
    second: int


def find_doubled(text: str) -> DoubledKey | None:
    """Return the first key or table that the text, which `tomllib` refuses, has twice; None where there is none."""
    reader = _Reader(text)
    with contextlib.suppress(_NotUnderstood, NestedTooDeeply, IndexError, tomllib.TOMLDecodeError):
        reader.read_document()
    return reader.doubled


class _NotUnderstood(Exception):
    """The text goes on in a way that this reader does not know."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.root = Spot(0, 0)
        self.doubled: DoubledKey | None = None
        self._with_header: set[Spot] = set()

    def read_document(self) -> None:
        """Read all tables and assignments of the text."""
        table, depth = self.root, 0
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table, depth = self._header()
            else:
                self._assignment(table, depth)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _NotUnderstood
        self.at = match.end()

    def _header(self) -> tuple[Spot, int]:
        """Read `[a.b]` or `[[a.b]]`; return the table's spot and how deep it is."""
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        keys = self._keys(0)
        self.at += brackets
        holder = _enter(self.root, keys[:-1])
        name, offset = keys[-1]
        found = holder.inner.get(name)
        if found is None:
            found = holder.inner[name] = Spot(offset, offset)
        elif brackets == 1:  # a header of its own says more than `[a.b.c]`
            if found in self._with_header or not found.inner:
                self._note_doubled(keys, found, offset)
            found.key = found.value = offset
        self._with_header.add(found)
        if brackets == 2:
            found.is_array = True
            found.inner[len(found.inner)] = found = Spot(offset, offset)
        return found, len(keys)

    def _assignment(self, table: Spot, depth: int) -> None:
        """Read `a.b = value`."""
        keys = self._keys(depth)
        if self.text[self.at] != "=":
            raise _NotUnderstood
        self.at += 1
        self._skip(_SPACE)
        holder = _enter(table, keys[:-1])
        name, offset = keys[-1]
        if name in holder.inner:
            self._note_doubled(keys, holder.inner[name], offset)
        holder.inner[name] = spot = Spot(offset, self.at)
        self._value(spot, depth + len(keys))

    def _note_doubled(self, keys: list[tuple[str, int]], first: Spot, offset: int) -> None:
        if self.doubled is None:
            self.doubled = DoubledKey(join_path(name for name, _ in keys), first.key, offset)

    def _keys(self, depth: int) -> list[tuple[str, int]]:
        """Read `a."b c".d` and the blanks after it; return the names with their offsets. `depth` is that of their table."""
        found: list[tuple[str, int]] = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self.text, self.at)
            if match is None:
                raise _NotUnderstood
            if depth + len(found) >= MAX_DEPTH:
                raise NestedTooDeeply(self.at)
            name = match[1] or match[2][1:-1]
            if match[2] and match[2][0] == '"' and "\\" in name:
                (name,) = tomllib.loads(f"{match[2]} = 0")
            found.append((name, self.at))
            self.at = match.end()
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return found
            self.at += 1

    def _value(self, spot: Spot, depth: int) -> None:
        """Read the value at the present place, whose spot is `spot`."""
        if depth > MAX_DEPTH:
            raise NestedTooDeeply(self.at)
        match self.text[self.at]:
            case '"' | "'":
                self._skip(_STRING)
            case "[":
                self._list(spot, depth)
            case "{":
                self._inline_table(spot, depth)
            case _:
                self._skip(_OTHER)

    def _list(self, spot: Spot, depth: int) -> None:
        self.at += 1
        self._skip(_BLANK)
        while self.text[self.at] != "]":
            spot.inner[len(spot.inner)] = item = Spot(self.at, self.at)
            self._value(item, depth + 1)
            self._skip_comma()
        self.at += 1

    def _inline_table(self, spot: Spot, depth: int) -> None:
        self.at += 1
        self._skip(_BLANK)
        while self.text[self.at] != "}":
            self._assignment(spot, depth)
            self._skip_comma()
        self.at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_BLANK)


def _enter(spot: Spot, keys: list[tuple[str, int]]) -> Spot:
    """Return the spot of the table at `keys` below `spot`, which is made where it does not exist."""
    for name, offset in keys:
        inner = spot.inner.get(name)
        if inner is None:
            inner = spot.inner[name] = Spot(offset, offset)
        spot = inner.inner[len(inner.inner) - 1] if inner.is_array else inner
    return spot
