"""The published JSON Schema and the parser agree, as far as a schema can: manifests made from the schema itself.

A schema sees one value at a time. What it cannot say (names that must exist, ports that two would take, signals, regular
expressions, files) is the parser's alone; unknown keys, types, bounds, words and missing keys are both's.
"""

import copy
import json
import re
from typing import Any

import jsonschema
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from minikube.manifest.schema.document import schema_json
from tests.unit.manifest.test_parser import build

SCHEMA = json.loads(schema_json())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)

BOTHS = re.compile(
    r"unknown key|as the key$"
    r"|expected (a string|a table|a list|true|an integer from|a number from|a size such)\b"
)
"""The parser's errors for mistakes that the schema finds, too. Keys that are missing may stand in another file."""

DURATIONS = st.sampled_from(["250ms", "1.5s", "2m", "1h30m"])
WORDS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


_made: dict[int, st.SearchStrategy[Any]] = {}


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that `schema` takes; nothing that has to be interpolated."""
    if id(schema) not in _made:
        _made[id(schema)] = st.one_of([_values(one) for one in alternatives(schema)])
    return _made[id(schema)]


def alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of one type each that a schema chooses from; none for one that only says what was expected."""
    if "$ref" in schema:
        found: Any = SCHEMA
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return alternatives(found)
    if isinstance(schema.get("const"), str):
        return []
    if "if" in schema and "type" not in schema:
        return [one for branch in ("then", "else") if branch in schema for one in alternatives(schema[branch])]
    return [schema]


def _values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match schema:
        case {"const": value}:
            return st.just(value)
        case {"type": "string", "else": {"enum": words}}:
            return st.sampled_from(words)
        case {"type": "string"}:
            return strings(schema)
        case {"type": "integer"}:
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case {"type": "number"}:
            return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "array"}:
            return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
        case {"type": "object"}:
            return tables(schema)
    raise AssertionError(f"the schema says {schema}, which this test does not know")


def strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    pattern = schema.get("if", {}).get("pattern", "").removesuffix(r"|\$")
    if "duration" in schema.get("else", {}).get("const", ""):
        return DURATIONS
    return st.from_regex(pattern, fullmatch=True).filter(lambda text: "$" not in text) if pattern else WORDS


@st.composite
def tables(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    known = schema.get("properties", {})
    chosen = draw(st.sets(st.sampled_from(sorted(known)), max_size=4)) if known else set()
    rule = schema
    while "if" in rule:
        if set(rule["if"]["required"]) <= chosen:
            chosen -= rule["then"]["properties"].keys()
        rule = rule.get("else", {})
    table = {name: draw(values(known[name])) for name in sorted(chosen)}
    if isinstance(schema.get("additionalProperties"), dict):
        refused = re.compile("|".join(schema.get("patternProperties", {"^$": {}})))
        names = st.text("abcxyz-_AB 019.", min_size=1, max_size=6).filter(lambda name: not refused.match(name))
        table |= draw(st.dictionaries(names, values(schema["additionalProperties"]), max_size=2))
    return table


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a manifest has values, as paths."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, item in items:
        found += places(item, (*path, key))
    return found


LOOSE = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@LOOSE
@given(values(SCHEMA))
def test_the_parser_takes_what_the_schema_takes_but_for_rules_that_a_schema_cannot_express(raw: dict[str, Any]) -> None:
    assume(VALIDATOR.is_valid(raw))
    _, problems = build(raw)
    assert [problem for problem in problems if BOTHS.search(problem)] == []


@LOOSE
@given(values(SCHEMA), st.data())
def test_what_is_wrong_at_any_place_both_refuse_or_both_take(raw: dict[str, Any], data: st.DataObject) -> None:
    """One value is replaced by one of any type, or an unknown key is put beside it."""
    assume(found := places(raw))
    path = data.draw(st.sampled_from(found))
    broken = copy.deepcopy(raw)
    at: Any = broken
    for part in path[:-1]:
        at = at[part]
    if isinstance(at, dict) and data.draw(st.booleans()):
        at["zzz"] = 1
    else:
        at[path[-1]] = data.draw(st.sampled_from([True, False, -1, 0, 1.5, "", "x y", [], [1], {}, {"a": 1}]))
    _, problems = build(broken)
    if not problems:
        assert VALIDATOR.is_valid(broken)
    if VALIDATOR.is_valid(broken):
        assert [problem for problem in problems if BOTHS.search(problem)] == []
