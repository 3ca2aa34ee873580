"""Where keys, values and list items stand in a TOML text, for every way of writing that `tomllib` accepts."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube.manifest.tree.node import Node, Source, make_tree
from minikube.manifest.tree.paths import Part, join_path, split_path
from minikube.manifest.tree.positions import MAX_DEPTH, DoubledKey, NestedTooDeeply, find_doubled, read_spots

TEXT = '''# [services.no]
name = "x"   # a = 1

[services.web]   # [services.no]
command = """
[services.fake]
port = 1\\"""
"""
\tport\t=\t1
health = [ "/",
 "]5s" ]
list = [
  "a]",  # ]
  'b', '[',
  { port = 2, "x" = { y.z = 3 } },
]
"a b".c = 1
script = \'\'\'
x = "
\'\'\'
  last = 'it"s'
[services."a.b".stop]
signal = "x"
[[more]]
z = 1
[[ more ]]
z = 2
[more.inner]
at = 1979-05-27 07:32:00
[ "services" . 'a.b' ]
"ü\\u0041" = "ö" # é
quotes = """a""b"""""
after = 'x'
'''


def tree_of(text: str) -> Node:
    """The tree of a TOML text."""
    return make_tree(tomllib.loads(text), read_spots(text), Source("f", text))


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("name", "2:1", "2:8"),
        ("services", "4:2", "4:2"),
        ("services.web", "4:11", "4:11"),
        ("services.web.command", "5:1", "5:11"),
        ("services.web.port", "9:2", "9:9"),
        ("services.web.health", "10:1", "10:10"),
        ("services.web.health[0]", "10:12", "10:12"),
        ("services.web.health[1]", "11:2", "11:2"),
        ("services.web.list[2]", "14:8", "14:8"),
        ("services.web.list[3].port", "15:5", "15:12"),
        ("services.web.list[3].x.y", "15:23", "15:23"),
        ("services.web.list[3].x.y.z", "15:25", "15:29"),
        ('services.web."a b".c', "17:7", "17:11"),
        ("services.web.script", "18:1", "18:10"),
        ("services.web.last", "21:3", "21:10"),
        ('services."a.b".stop', "22:17", "22:17"),
        ('services."a.b"', "30:16", "30:16"),
        ("more", "24:3", "24:3"),
        ("more[1]", "26:4", "26:4"),
        ("more[1].z", "27:1", "27:5"),
        ("more[1].inner.at", "29:1", "29:6"),
        ('services."a.b"."üA"', "31:1", "31:13"),
        ('services."a.b".after', "33:1", "33:9"),
    ],
)
def test_each_key_and_value_has_its_line_and_column(path: str, key: str, value: str) -> None:
    node, found = tree_of(TEXT).find(split_path(path))
    assert found
    assert node.path == path
    places = [node.source.position(offset) for offset in (node.key, node.value_at)]
    assert [f"{line}:{column}" for line, column in places] == [key, value]


def test_what_is_not_there_is_found_at_what_would_hold_it() -> None:
    tree = tree_of(TEXT)
    for path, holder in (
        ("services.web.missing", "services.web"),
        ("services.web.health[7]", "services.web.health"),
        ("services.web.port.x", "services.web.port"),
        ("other", ""),
        ("", ""),
        ("services.web.health./", "services.web.health[0]"),
    ):
        assert tree.find(split_path(path))[0].path == holder


NAMES = st.text(st.sampled_from("ab.-\"' =#[]\\\n\tü"), max_size=4)
SCALARS = st.text(st.sampled_from("a\"'\\\n[]{}#=. ,ü")) | st.integers() | st.booleans() | st.floats(allow_nan=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(NAMES, VALUES, max_size=4)


class Writer:
    """Writes a tree as TOML, in ways of writing that are drawn."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def choose(self, *words: str) -> str:
        return str(self.draw(st.sampled_from(words)))

    def flip(self) -> bool:
        return bool(self.draw(st.sampled_from((False, True))))

    def name(self, name: str) -> str:
        forms = [_escaped(name)]
        if re.fullmatch("[A-Za-z0-9_-]+", name):
            forms.append(name)
        if not set(name) & {"'", "\n"}:
            forms.append(f"'{name}'")
        return self.choose(*forms)

    def space(self) -> str:
        return self.choose("", " ", "\t ")

    def blank(self) -> str:
        return self.choose("", " ", "\n", " # ] } = [\n\t", "\n\n")

    def string(self, text: str) -> str:
        forms = [_escaped(text), f'"""\n{_escaped(text)[1:-1]}"""']
        if not set(text) & {"'", "\n"}:
            forms.append(f"'{text}'")
        if "''" not in text:
            forms.append(f"'''\n{text}'''")
        if "\\" not in text and '""' not in text:
            forms.append(f'"""\n{text}"""')
        return self.choose(*forms)

    def value(self, value: Any) -> str:
        match value:
            case str():
                return self.string(value)
            case bool():
                return str(value).lower()
            case int() | float():
                return repr(value)
            case list():
                items = [f"{self.blank()}{self.value(item)}{self.blank()}" for item in value]
                comma = "," if items and self.flip() else ""
                return f"[{','.join(items)}{comma}{self.blank()}]"
        keys = [f"{self.space()}{line}{self.space()}" for line in self.assignments(value)]
        return f"{{{','.join(keys)}}}"

    def assignments(self, table: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, value in table.items():
            key = f"{prefix}{self.space()}{self.name(name)}{self.space()}"
            if isinstance(value, dict) and value and self.flip():
                yield from self.assignments(value, f"{key}.")
            else:
                yield f"{key}={self.space()}{self.value(value)}"

    def document(self, table: dict[str, Any], path: str = "") -> Iterator[str]:
        own: dict[str, Any] = {}
        below: dict[str, Any] = {}
        for name, value in table.items():
            is_table = isinstance(value, dict) or (
                isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            )
            (below if is_table and self.flip() else own)[name] = value
        yield from self.assignments(own)
        for name, value in below.items():
            here = f"{path}.{self.name(name)}" if path else self.name(name)
            for item in value if isinstance(value, list) else [value]:
                header = f"[{self.space()}{here}{self.space()}]"
                yield f"[{header}]" if isinstance(value, list) else header
                yield from self.document(item, here)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML texts."""
    writer = Writer(draw)
    return "".join(
        f"{writer.blank()}{writer.space()}{line}{writer.choose('', ' # [x]')}\n"
        for line in writer.document(draw(TREES))
    )


def nodes(node: Node, parts: tuple[Part, ...] = ()) -> Iterator[tuple[tuple[Part, ...], Node]]:
    """The nodes of a tree with their paths."""
    yield parts, node
    match node.value:
        case dict() as table:
            for name, inner in table.items():
                yield from nodes(inner, (*parts, name))
        case list() as items:
            for index, inner in enumerate(items):
                yield from nodes(inner, (*parts, index))


def key_at(text: str, offset: int) -> str:
    """The key that begins at an offset, as `tomllib` reads it."""
    match = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""").match(text, offset)
    assert match
    (name,) = tomllib.loads(f"{match[0]} = 0")
    return name


def begins_with_value(text: str, offset: int, value: Any) -> bool:
    """Whether the text from an offset on begins with a value, as `tomllib` reads it."""
    for end in range(offset + 1, len(text) + 1):
        try:
            if tomllib.loads(f"x = {text[offset:end]}") == {"x": value}:
                return True
        except tomllib.TOMLDecodeError:
            continue
    return False


@settings(deadline=None)
@given(documents())
def test_at_each_place_stands_that_key_and_that_value(text: str) -> None:
    raw = tomllib.loads(text)
    tree = tree_of(text)
    assert tree.plain() == raw
    for parts, node in nodes(tree):
        if not parts:
            continue
        assert tree.find(parts) == (node, True)
        assert split_path(join_path(parts)) == list(parts)
        is_item = isinstance(parts[-1], int)
        if not is_item:
            assert key_at(text, node.key) == parts[-1]
        if node.value_at != node.key:
            assert begins_with_value(text, node.value_at, node.plain())
        elif is_item:  # an item of a list, or a table with the header `[[…]]`
            by_header = text[: node.value_at].rstrip(" \t").endswith(("[[", "."))
            assert by_header or begins_with_value(text, node.value_at, node.plain())
        else:  # a table with a header or a dotted key
            assert isinstance(node.value, dict | list)


@settings(deadline=None)
@given(documents())
def test_line_and_column_are_those_of_the_characters_before(text: str) -> None:
    tree = tree_of(text)
    for _, node in nodes(tree):
        before = text[: node.value_at].split("\n")
        assert node.source.position(node.value_at) == (len(before), len(before[-1]) + 1)


@given(st.text(st.sampled_from("ab.\"'\\\n[]{}#= ,1")))
def test_no_text_is_too_odd(text: str) -> None:
    """A later version of TOML allows more: its reader ends, and what it does not understand has no place of its own."""
    read_spots(text)


@pytest.mark.parametrize("text", ["[" * MAX_DEPTH + "]" * MAX_DEPTH, "{a=" * 50 + "1" + "}" * 50])
def test_nesting_has_a_bound(text: str) -> None:
    read_spots(f"x = {text}")
    with pytest.raises(NestedTooDeeply):
        read_spots(f"x = [{'[' * 50}{text}{']' * 50}]")
    with pytest.raises(NestedTooDeeply):
        read_spots(f"[{'.'.join(['a'] * (MAX_DEPTH + 1))}]")


@pytest.mark.parametrize(
    ("text", "doubled"),
    [
        ("a = 1\nb = 2\n", None),
        ('a = 1\nb = "x\n', None),
        ("a = 1\nb = ]\n", None),
        ("a 1\na = 2\n", None),  # what stands behind a mistake of another kind is not looked at
        ("a = 1\na = 2\n b 3\n", DoubledKey("a", 0, 6)),
        ("[x]\na = 1\n'a' = 2\na = 3\n", DoubledKey("x.a", 4, 10)),
    ],
)
def test_the_first_doubled_key_is_found(text: str, doubled: DoubledKey | None) -> None:
    found = find_doubled(text)
    assert found == doubled or (found and doubled and (found.first, found.second) == (doubled.first, doubled.second))
