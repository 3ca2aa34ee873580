"""The parts of the JSON Schema that `shapes` are described with, so that an editor shows one exact message for each mistake.

Of `anyOf` an editor can only say that nothing fits. So the type of a value chooses what is asked of it (`if`), and a `const`
that no value has says what was expected: editors show its text. An error of a table or a list is shown at each of its parts, so
unknown keys are errors of their values.

The patterns are those of ECMAScript, without Python's additions.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

VARIABLE = r"\$"
"""The pattern of a string whose value is known after its variables are replaced."""

MOST_NAMED_KEYS = 16
"""Tables with more keys are not listed in messages: the editor completes them."""


def message(expected: str) -> Schema:
    """Return a schema that no value matches; an editor says that `expected` was expected."""
    return {"const": expected}


def string(pattern: str, expected: str) -> Schema:
    """Return the schema of a string that matches `pattern`, if there is one, or contains a variable."""
    whole: Schema = {"type": "string"}
    if pattern:
        pattern = pattern.replace("(?s:.*\\S.*)", r"[\s\S]*\S[\s\S]*").replace("(?s:.+)", r"[\s\S]+")
        whole |= {"if": {"pattern": rf"{pattern}|{VARIABLE}"}, "else": message(expected)}
    return whole


def or_variable(schema: Schema) -> Schema:
    """Return the schema of a value, or of a string with a variable in its place."""
    return {"if": {"type": "string", "pattern": VARIABLE}, "else": schema}


def words(choices: Collection[str], hints: Mapping[str, str]) -> Schema:
    """Return the schema of one of several words, or of a string with a variable. `hints` are words of other tools."""
    refused: Schema = {"enum": list(choices)}
    for meant, foreign in _by_meaning(hints, choices).items():
        refused = {"if": {"enum": foreign}, "then": message(meant), "else": refused}
    # Editors complete words of `anyOf`, and not those of `else`; with the empty alternative it refuses nothing.
    return {"type": "string", "anyOf": [{"enum": list(choices)}, {}], "if": {"pattern": VARIABLE}, "else": refused}


def _by_meaning(hints: Mapping[str, str], known: Collection[str]) -> dict[str, list[str]]:
    """Return the words that are not known, by what is meant by them."""
    found: dict[str, list[str]] = {}
    for word, meant in hints.items():
        if word not in known:
            found.setdefault(meant, []).append(word)
    return found


def by_type(schemas: Mapping[str, Schema], otherwise: Schema) -> Schema:
    """Return the schema of a value of one of several types, each with its own schema; `otherwise` is that of other types."""
    whole = otherwise
    for kind, schema in reversed(list(schemas.items())):
        whole = {"if": {"type": kind}, "then": schema, "else": whole}
    return whole


def table(keys: Mapping[str, Schema], hints: Mapping[str, str]) -> Schema:
    """Return the schema of a table with these keys. `hints` are keys of other tools, with what to write here."""
    foreign = _by_meaning(hints, keys)
    others = [re.escape(name) for name in (*keys, *(name for names in foreign.values() for name in names))]
    named = f": {', '.join(keys)}" if len(keys) <= MOST_NAMED_KEYS else ""
    return {
        "type": "object",
        "properties": dict(keys),
        "patternProperties": {
            **{f"^({'|'.join(names)})$": message(f"{meant} in place of this key") for meant, names in foreign.items()},
            f"^(?!({'|'.join(others)})$)": message(f"a known key of this table{named}"),
        },
        "additionalProperties": False,
    }


def only_one_of(names: Sequence[str]) -> Schema:
    """Return a schema that refuses each of these keys of a table beside an earlier one."""
    first, *others = names
    whole: Schema = {
        "if": {"properties": {first: {}}, "required": [first]},
        "then": {"properties": {name: message(f"no {name} beside {first}") for name in others}},
    }
    return {**whole, "else": only_one_of(others)} if len(others) > 1 else whole


def table_of(each: Schema, key_pattern: str, key_expected: str) -> Schema:
    """Return the schema of a table with keys that the user chooses."""
    whole: Schema = {"type": "object", "additionalProperties": each}
    if key_pattern and key_pattern != r"^(?s:.+)$":
        whole["patternProperties"] = {f"^(?!{key_pattern.removeprefix('^')})": message(f"{key_expected} as the key")}
    elif key_pattern:
        whole["patternProperties"] = {"^$": message(f"{key_expected} as the key")}
    return whole
