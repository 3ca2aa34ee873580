"""The kinds of values in a manifest, called shapes. A shape reads a value and describes it in the JSON Schema.

`Shape.read` takes the raw TOML value at a key and returns what it means, or None after it has recorded a problem: all
problems of a manifest are reported together. The keys themselves are in `parser`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from minikube import durations
from minikube.manifest import json_schema
from minikube.manifest.diagnostics import KeyPath, describe_value, did_you_mean, join_words
from minikube.manifest.json_schema import Schema
from minikube.manifest.values import (
    SCHEDULE_FORM,
    WATCH_FORM,
    parse_host_port,
    parse_listen,
    parse_schedule,
    parse_signal,
    parse_umask,
    parse_watch,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
JSON_TYPES: Mapping[type, str] = {dict: "object", list: "array", str: "string", float: "number", int: "integer"}


class Shape(Protocol[T_co]):
    """A kind of value in a manifest. It reads a raw TOML value, and describes valid values in the JSON Schema."""

    def read(self, value: object, key: KeyPath) -> T_co | None:
        """Return the converted raw value at `key`; None after recording a problem there."""

    def schema(self) -> Schema:
        """Return the JSON Schema of valid values."""


def _is_whole(pattern: str, text: str) -> bool:
    """Return whether the pattern, if any, matches the whole text."""
    # `re.match` with `$` would accept a newline at the end, which JSON Schema does not.
    return not pattern or re.fullmatch(pattern, text) is not None


class Text(Struct, frozen=True):
    """A string with its variables replaced. If `pattern` is set, the whole string must match it."""

    expected: str = "a string"
    pattern: str = ""
    later: bool = False
    keep_unset: bool = False
    secret: bool = False

    def read(self, value: object, key: KeyPath) -> str | None:
        key = replace(key, secret=self.secret)
        if not isinstance(value, str):
            return key.wrong(self.expected, value)
        text = key.text(value, later=self.later, keep_unset=self.keep_unset)
        if text is not None and not _is_whole(self.pattern, text):
            return key.wrong(self.expected, text)
        return text

    def schema(self) -> Schema:
        return json_schema.string(self.pattern, self.expected)


class Parsed(Struct, Generic[T], frozen=True):
    """A string that `parse` converts. The ValueError of `parse` has the text of the problem."""

    parse: Callable[[str], T]
    expected: str
    pattern: str = ""
    secret: bool = False

    def read(self, value: object, key: KeyPath) -> T | None:
        key = replace(key, secret=self.secret)
        if not isinstance(value, str):
            return key.wrong(self.expected, value)
        text = key.text(value)
        if text is None:
            return None
        try:
            return self.parse(text)
        except ValueError as error:
            return key.fail(str(error) if self.secret else f"{error}, got {describe_value(text)}")

    def schema(self) -> Schema:
        return json_schema.string(self.pattern, self.expected)


def _plain(bound: float) -> str:
    """Return a number with all its digits, without an exponent."""
    return str(int(bound)) if bound == int(bound) else str(bound)


class Number(Struct, Generic[T], frozen=True):
    """An integer, or with `kind=float` a number, between two bounds. A string whose variables give a number is accepted, too."""

    kind: type[T]
    least: float
    most: float

    @property
    def expected(self) -> str:
        noun = "an integer" if self.kind is int else "a number"
        return f"{noun} from {_plain(self.least)} to {_plain(self.most)}"

    def read(self, value: object, key: KeyPath) -> T | None:
        if isinstance(value, str) and "$" in value:
            text = key.text(value)
            if text is None:
                return None
            try:
                value = int(text) if self.kind is int else float(text)
            except ValueError:
                value = text
        if isinstance(value, bool) or not isinstance(value, (int, float) if self.kind is float else int):
            return key.wrong(self.expected, value)
        if not self.least <= value <= self.most:
            return key.wrong(self.expected, value)
        return self.kind(value)  # type: ignore[call-arg]

    def schema(self) -> Schema:
        name = "integer" if self.kind is int else "number"
        return json_schema.or_variable({"type": name, "minimum": self.least, "maximum": self.most})


class Choice(Struct, frozen=True):
    """One of several words. `hints` are words of other tools, with the one to use in their place."""

    words: tuple[str, ...]
    hints: Mapping[str, str] = {}

    def read(self, value: object, key: KeyPath) -> Any:
        expected = join_words([f'"{word}"' for word in self.words])
        if not isinstance(value, str):
            return key.wrong(expected, value)
        text = key.text(value)
        if text is not None and text not in self.words:
            return key.wrong(expected, text, did_you_mean(text, self.words, words=self.hints))
        return text

    def schema(self) -> Schema:
        return json_schema.words(self.words, self.hints)


class OnlyTrue(Struct, frozen=True):
    """The value `true` alone, as in `tcp = true`."""

    def read(self, value: object, key: KeyPath) -> bool | None:
        return True if value is True else key.wrong("true", value)

    def schema(self) -> Schema:
        return {"const": True}


class Boolean(Struct, frozen=True):
    """`true` or `false`."""

    def read(self, value: object, key: KeyPath) -> bool | None:
        return value if isinstance(value, bool) else key.wrong("true or false", value)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class ListOf(Struct, Generic[T], frozen=True):
    """A list of values of one shape, read as a tuple. With `lone`, a value that is no list is read as a list of one item."""

    each: Shape[T]
    noun: str
    lone: bool = False
    least: int = 0

    def read(self, value: object, key: KeyPath) -> tuple[T, ...] | None:
        if self.lone and not isinstance(value, list):
            only = self.each.read(value, key)
            return None if only is None else (only,)
        if not isinstance(value, list) or len(value) < self.least:
            return key.wrong(f"a list of {self.noun}", value)
        read = [self.each.read(item, key.item(index)) for index, item in enumerate(value)]
        good = tuple(item for item in read if item is not None)
        return good if len(good) == len(read) else None

    def schema(self) -> Schema:
        whole: Schema = {"type": "array", "items": self.each.schema()}
        if self.least:
            whole["minItems"] = self.least
        if not self.lone:
            return whole
        return {"if": {"type": "array"}, "then": whole, "else": self.each.schema()}


class TableOf(Struct, Generic[T], frozen=True):
    """A table with keys that the user chooses and values of one shape."""

    each: Shape[T]
    noun: str
    key_pattern: str
    key_expected: str
    key_hint: Callable[[str], str] = lambda name: ""
    """Return a name that `name` may have been meant to be, for a name that is wrong."""

    def read(self, value: object, key: KeyPath) -> dict[str, T] | None:
        if not isinstance(value, dict):
            return key.wrong(f"a table of {self.noun}", value)
        read = {name: self._one(name, item, key.key(name)) for name, item in value.items()}
        good = {name: item for name, item in read.items() if item is not None}
        return good if len(good) == len(read) else None

    def _one(self, name: str, item: object, key: KeyPath) -> T | None:
        if _is_whole(self.key_pattern, name) and "\0" not in name:
            return self.each.read(item, key)
        meant = self.key_hint(name)
        hint = f" (did you mean {meant}?)" if meant and _is_whole(self.key_pattern, meant) else ""
        key.fail_key(f"expected {self.key_expected} as the key{hint}")
        self.each.read(item, key)  # a wrong name hides no other mistake
        return None

    def schema(self) -> Schema:
        return json_schema.table_of(self.each.schema(), self.key_pattern, self.key_expected)


class OneOf(Struct, Generic[T], frozen=True):
    """A value of several TOML types, with a shape for each type: `{str: …, dict: …}`."""

    by_type: dict[type, Shape[T]]
    expected: str

    def read(self, value: object, key: KeyPath) -> T | None:
        shape = self.by_type.get(type(value))
        return key.wrong(self.expected, value) if shape is None else shape.read(value, key)

    def schema(self) -> Schema:
        # A whole number is an integer in JSON, also where TOML has a float.
        shapes = {kind: shape for kind, shape in self.by_type.items() if kind is not int or float not in self.by_type}
        # A shape of several types chooses among them itself.
        shared = next(
            (shape for shape in shapes.values() if sum(other is shape for other in shapes.values()) > 1), None
        )
        own = {JSON_TYPES[kind]: shape.schema() for kind, shape in shapes.items() if shape is not shared}
        return json_schema.by_type(own, shared.schema() if shared else json_schema.message(self.expected))


class Converted(Struct, Generic[T], frozen=True):
    """A value read by another shape and then converted by `step`, which may record a problem and return None."""

    shape: Shape[Any]
    step: Callable[[Any, KeyPath], T | None]

    def read(self, value: object, key: KeyPath) -> T | None:
        read = self.shape.read(value, key)
        return None if read is None else self.step(read, key)

    def schema(self) -> Schema:
        return self.shape.schema()


class KnownKeys(Struct, frozen=True):
    """A table whose keys are fixed, with a shape for each. It is read as a dict of the keys that are present and valid."""

    shapes: dict[str, Shape[Any]]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    noun: str = "a table"
    hints: Mapping[str, str] = {}
    """Keys of other tools, with the one to use in their place."""

    def read(self, value: object, key: KeyPath) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            return key.wrong(self.noun, value)
        good: dict[str, Any] = {}
        for name, item in value.items():
            shape = self.shapes.get(name)
            if shape is None:
                hint = did_you_mean(name, self.shapes, words=self.hints) or f" (known: {', '.join(self.shapes)})"
                key.key(name).fail_key(f"unknown key, expected a key of {self._called(key)}{hint}")
            elif (read := shape.read(item, key.key(name))) is not None:
                good[name] = read
        for name in self.required:
            if name not in value:
                needed = join_words(self.required, "and")
                key.key(name).fail_key(f"expected it to be set, {self._called(key)} needs {needed}")
        if self.one_of and sum(name in value for name in self.one_of) != 1:
            given = [name for name in self.one_of if name in value]
            got = join_words(given, "and") if given else "none"
            key.fail(f"expected exactly one of {join_words(self.one_of)}, got {got}")
        return good

    def _called(self, key: KeyPath) -> str:
        return f"[{key.path}]" if key.path else "the manifest"

    def schema(self) -> Schema:
        keys = {name: shape.schema() for name, shape in self.shapes.items()}
        whole = json_schema.table(keys, self.hints)
        return {**whole, **json_schema.only_one_of(self.one_of)} if self.one_of else whole


DURATION = Parsed(durations.parse_duration, durations.DURATION_FORM, durations.DURATION_PATTERN + "|^0$")
SIZE = Parsed(durations.parse_size, durations.SIZE_FORM, durations.SIZE_PATTERN)
HOST_PORT = Parsed(parse_host_port, 'host:port, such as "127.0.0.1:5555"', r"^.+:[0-9]+$")
LISTEN = Parsed(parse_listen, 'host:port, such as "127.0.0.1:5555", or "auto"', r"^(auto|.+:[0-9]+)$")
SCHEDULE = Parsed(parse_schedule, SCHEDULE_FORM, r"^\s*(@[A-Za-z]+|every\s.+|(\S+\s+){4}\S+)\s*$")
WATCH = Parsed(parse_watch, WATCH_FORM, r"[^!/ ]")
UMASK = Parsed(parse_umask, 'an octal mask such as "022"', r"^(0o)?[0-7]{1,4}$")
SIGNAL = Parsed(parse_signal, "a signal such as TERM, INT or QUIT")

COUNT = Number(int, 0, 1_000_000)
POSITIVE = Number(int, 1, 1_000_000)


def duration(*, zero: bool) -> Shape[float]:
    """Return the shape of a duration in seconds; `zero` says whether 0 is one."""

    def step(seconds: float, key: KeyPath) -> float | None:
        return seconds if zero or seconds > 0 else key.fail("expected a duration above 0")

    return Converted(DURATION, step)
