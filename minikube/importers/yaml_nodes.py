"""YAML as nodes with their lines, by the rules of YAML 1.2: `no`, `on` and `22:22` are strings.

PyYAML parses; what its version 1.1 of YAML makes of plain words is not used. Anchors and aliases are resolved, `<<` merges into
the mapping that has it, and a key that stands twice is an error. JSON is read, too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from msgspec import Struct

from minikube.errors import UsageError
from minikube.importers.result import Span
from minikube.importers.source import source_error

MAX_DEPTH = 64
"""How deep a file may be nested."""

MAX_VALUES = 200_000
"""How many values a file may have once its aliases are resolved: a few lines of them can mean billions."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    word: value for value, words in ((True, "true True TRUE"), (False, "false False FALSE")) for word in words.split()
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MERGE = "<<"


class Node(Struct, frozen=True, eq=False):
    """A value of a YAML file."""

    span: Span
    tag: str
    """A tag of its own, such as `!reset`; empty: none."""

    @property
    def kind(self) -> str:
        """The kind of value in words."""
        return "a value"


class Scalar(Node, frozen=True, eq=False):
    """A string, number, boolean or nothing."""

    text: str
    """As the file has it, without quotes."""
    plain: bool
    """Whether it stands without quotes: only then it may be a number, a boolean or nothing."""

    @property
    def value(self) -> str | int | float | bool | None:
        """What it means: `3`, `3.5`, `true` and nothing where it is plain, else its text."""
        text = self.text
        if not self.plain:
            return text
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if len(text) <= 20 and _INT.fullmatch(text):
            return int(text, 0 if text[:2] in ("0o", "0x") else 10)
        return float(text) if _FLOAT.fullmatch(text) else text

    @property
    def kind(self) -> str:
        return {type(None): "nothing", bool: f"`{self.text}`", str: "a string"}.get(type(self.value), "a number")


class Items(Node, frozen=True, eq=False):
    """A list."""

    items: Sequence[Node]

    @property
    def kind(self) -> str:
        return "a list"


class Table(Node, frozen=True, eq=False):
    """A mapping. The keys are strings, as they are written."""

    entries: "Mapping[str, Entry]"

    def get(self, key: str) -> Node | None:
        """Return the value of a key; None where there is none."""
        entry = self.entries.get(key)
        return entry.value if entry else None

    @property
    def kind(self) -> str:
        return "a table"


class Entry(Struct, frozen=True, eq=False):
    """A key with its value."""

    span: Span
    """The lines of both. An entry that was merged in has the lines where it is written."""
    value: Node


def is_nothing(node: Node) -> bool:
    """Return whether a node is empty, or `null`."""
    return isinstance(node, Scalar) and node.value is None


def plain_value(node: Node) -> Any:
    """Return a node as lists, dicts, strings, numbers, booleans and None."""
    match node:
        case Scalar():
            return node.value
        case Items():
            return [plain_value(item) for item in node.items]
        case Table():
            return {key: plain_value(entry.value) for key, entry in node.entries.items()}
    raise AssertionError(node)


def parse_yaml(text: str, file: str) -> Node:
    """Return the document of a YAML or JSON text; `file` is its name in spans and errors. Raises UsageError with line and column.

    An empty text is an empty table.
    """
    # A tab is no indentation in YAML, but JSON files have them.
    if text.lstrip()[:1] in ("{", "["):
        text = re.sub(r"^[\t ]+", lambda match: match[0].replace("\t", "    "), text, flags=re.MULTILINE)
    loader = _loader(text, file)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = f"not YAML: {' '.join(part for part in (error.problem, error.context) if part)}"
        if error.problem == "but found another document":
            said = "has a second document — keep one, or save each in a file of its own"
        raise source_error(file, said, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        raise _character_error(error, text, file) from None
    except RecursionError:
        raise source_error(file, "nested too deeply", loader.line + 1, loader.column + 1) from None
    finally:
        loader.dispose()
    if root is None:
        return Table(Span(file, 1, 1, 1), "", {})
    return _Conversion(file).convert(root, 0)


def _text(value: str) -> str:
    """Return a string with its surrogates joined: JSON writes characters beyond the first plane as two. A lone one is U+FFFD."""
    return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _loader(text: str, file: str) -> yaml.SafeLoader:
    try:
        return yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        raise _character_error(error, text, file) from None


def _character_error(error: yaml.reader.ReaderError, text: str, file: str) -> UsageError:
    line = text.count("\n", 0, error.position) + 1
    column = error.position - text.rfind("\n", 0, error.position)
    return source_error(file, "not YAML: a control character", line, column)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """Return the keys and values of a mapping, or the items of a list."""
    if isinstance(node, yaml.ScalarNode):
        return []
    return [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]


class _Conversion:
    """The conversion of one document. Aliases of one node become one node."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.done: dict[int, Node] = {}
        self.open: set[int] = set()
        self.sizes: dict[int, int] = {}

    def convert(self, node: yaml.Node, depth: int) -> Node:
        key = id(node)
        if key in self.done:
            return self.done[key]
        if key in self.open:
            raise self.error(node, "an anchor that contains itself")
        if depth > MAX_DEPTH:
            raise self.error(node, "nested too deeply")
        self.open.add(key)
        self.done[key] = self.made(node, depth)
        parts = _parts(node)
        self.sizes[key] = 1 + sum(self.sizes.get(id(part), 1) for part in parts)
        if self.sizes[key] > MAX_VALUES:
            raise self.error(node, f"more than {MAX_VALUES} values, with those of aliases")
        self.open.discard(key)
        return self.done[key]

    def made(self, node: yaml.Node, depth: int) -> Node:
        tag = node.tag if node.tag.startswith("!") else ""
        match node:
            case yaml.ScalarNode():
                lines = max(1, node.end_mark.line - node.start_mark.line + (node.style not in ("|", ">")))
                return Scalar(self.span(node, node.start_mark.line + lines), tag, _text(node.value), node.style is None)
            case yaml.SequenceNode():
                items = tuple(self.convert(item, depth + 1) for item in node.value)
                return Items(self.span(node, self.end(node)), tag, items)
            case yaml.MappingNode():
                entries = self.entries(node, depth)
                return Table(self.span(node, self.end(node)), tag, entries)
        raise AssertionError(node)

    def entries(self, node: yaml.MappingNode, depth: int) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, "expected a string as the key")
            converted = self.convert(value, depth + 1)
            if key.value == _MERGE and key.style is None:
                for table in converted.items if isinstance(converted, Items) else (converted,):
                    if not isinstance(table, Table):
                        raise self.error(value, "expected a table, or a list of tables, to merge with <<")
                    merged = {**table.entries, **merged}
                continue
            if key.value in own:
                raise self.error(key, f"the key {key.value} stands twice")
            here = key.start_mark.line + 1
            last = converted.span.last_line if converted.span.line >= here else here  # an alias: written elsewhere
            own[_text(key.value)] = Entry(Span(self.file, here, max(here, last), key.start_mark.column + 1), converted)
        return merged | own

    def span(self, node: yaml.Node, last: int) -> Span:
        first = node.start_mark.line + 1
        return Span(self.file, first, max(first, last), node.start_mark.column + 1)

    def end(self, node: yaml.CollectionNode) -> int:
        """Return the last line of a list or mapping. The mark at the end of a block is that of what follows."""
        if node.flow_style:
            return int(node.end_mark.line) + 1
        parts = _parts(node)
        ends = [
            self.done[id(part)].span.last_line if id(part) in self.done else part.start_mark.line + 1 for part in parts
        ]
        return max(ends, default=node.start_mark.line + 1)

    def error(self, node: yaml.Node, message: str) -> Exception:
        return source_error(self.file, message, node.start_mark.line + 1, node.start_mark.column + 1)
