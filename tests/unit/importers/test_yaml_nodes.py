"""YAML by the rules of version 1.2, with lines."""

import pytest

from minikube.errors import UsageError
from minikube.importers.yaml_nodes import Table, parse_yaml, plain_value


def parse(text: str) -> Table:
    node = parse_yaml(text, "a.yaml")
    assert isinstance(node, Table)
    return node


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("22:22", "22:22"),
        ("1:30:00", "1:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("0755", 755),
        ("0o755", 0o755),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("3.8", 3.8),
        ("true", True),
        ("'true'", "true"),
        ("~", None),
        ("", None),
        ("''", ""),
        ("123456789012345678901234567890", 123456789012345678901234567890.0),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(written: str, value: object) -> None:
    node = parse(f"a: {written}")
    assert plain_value(node) == {"a": value}


def test_each_key_has_its_lines_also_with_block_strings_and_aliases() -> None:
    node = parse(
        """\
# a comment
base: &base
  image: x

  command: |
    one

    two
other:
  <<: *base
  image: y
  again: *base

last: [a,
  b]
"""
    )
    lines = {key: (entry.span.line, entry.span.last_line) for key, entry in node.entries.items()}
    assert lines == {"base": (2, 8), "other": (9, 12), "last": (14, 15)}
    other = node.get("other")
    assert isinstance(other, Table)
    lines = {key: (entry.span.line, entry.span.last_line) for key, entry in other.entries.items()}
    assert lines == {"image": (11, 11), "command": (5, 8), "again": (12, 12)}


def test_own_keys_win_over_merged_ones_and_the_first_of_a_list_over_the_others() -> None:
    node = parse("a: &a {x: 1, y: 1, z: 1}\nb: &b {x: 2, y: 2, w: 2}\nc: {x: 3, <<: [*b, *a]}\nd: {x: 4, '<<': 1}")
    whole = plain_value(node)
    assert whole["c"] == {"x": 3, "y": 2, "z": 1, "w": 2}
    assert whole["d"] == {"x": 4, "<<": 1}


def test_json_is_read_also_with_tabs() -> None:
    assert plain_value(parse('{\n\t"apps": [\n\t\t{"name": "a", "n": 2}\n\t]\n}\n')) == {
        "apps": [{"name": "a", "n": 2}]
    }


LAUGHS = "a: &a0 {x: y}\n" + "".join(
    f"? a{number}\n: &a{number} {{x: *a{number - 1}, y: *a{number - 1}, z: *a{number - 1}}}\n"
    for number in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1,\n", "a.yaml:3:1: not YAML: "),
        ("a: 1\n\tb: 2\n", "a.yaml:2:1: not YAML: "),
        ("a: 1\na: 2\n", "a.yaml:2:1: the key a stands twice"),
        ("a: &x [*x]\n", "a.yaml:1:4: an anchor that contains itself"),
        ("a: *x\n", "a.yaml:1:4: not YAML: found undefined alias"),
        ("? [a]\n: 1\n", "a.yaml:1:3: expected a string as the key"),
        ("a:\n  <<: 3\n", "a.yaml:2:7: expected a table"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: has a second document"),
        ("a: \x00\n", "a.yaml:1:4: not YAML: a control character"),
        (LAUGHS, "a.yaml:21:3: more than 200000 values, with those of aliases"),
        ("[" * 5000, "a.yaml:1:"),
        ("[" * 70 + "]" * 70, "a.yaml:1:66: nested too deeply"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_yaml(text, "a.yaml")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_character_that_json_writes_as_two_is_one() -> None:
    assert plain_value(parse('{"a\\ud83d\\ude00": "\\ud83d\\ude00", "b": "\\ud83d"}')) == {"a😀": "😀", "b": "�"}
