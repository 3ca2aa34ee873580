"""How one value of a manifest is read, and how the JSON Schema describes it: said once (floor 0).

A shape takes the raw TOML value at a place and gives back what it means, or None after it has told the place
what is wrong; nobody stops at the first problem. What a table of keys is made of is `reader`'s.
"""

import re
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from minikube import durations
from minikube.manifest.diagnostics import KeyPath, describe, nearest, spoken
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
Schema = dict[str, Any]


class Shape(Protocol[T_co]):
    """Reads one value and describes it."""

    def read(self, value: object, place: KeyPath) -> T_co | None: ...
    def schema(self) -> Schema: ...


def _is_whole(pattern: str, text: str) -> bool:
    """Whether the pattern (if any) is the whole text. Alone, `$` would let a newline pass, which in a schema it does not."""
    return not pattern or re.fullmatch(pattern, text) is not None


class Text(Struct, frozen=True):
    """A string, interpolated; checked by `pattern`, which says all of it, where one is given."""

    expected: str = "a string"
    pattern: str = ""
    later: bool = False
    doc: str = ""
    secret: bool = False

    def read(self, value: object, place: KeyPath) -> str | None:
        place = KeyPath(place.reading, place.path, self.secret)
        if not isinstance(value, str):
            return place.wrong(self.expected, value)
        text = place.text(value, later=self.later)
        if text is not None and not _is_whole(self.pattern, text):
            return place.wrong(self.expected, text)
        return text

    def schema(self) -> Schema:
        return string_schema(self.pattern, self.doc or self.expected)


class Parsed(Struct, Generic[T], frozen=True):
    """A string that `parse` understands; its ValueError says what was expected."""

    parse: Callable[[str], T]
    expected: str
    pattern: str = ""

    def read(self, value: object, place: KeyPath) -> T | None:
        if not isinstance(value, str):
            return place.wrong(self.expected, value)
        text = place.text(value)
        if text is None:
            return None
        try:
            return self.parse(text)
        except ValueError as error:
            return place.fail(f"{error}, got {describe(text)}")

    def schema(self) -> Schema:
        return string_schema(self.pattern, self.expected)


def _plain(bound: float) -> str:
    """All its digits: no 4.6e+18."""
    return str(int(bound)) if bound == int(bound) else str(bound)


class Number(Struct, Generic[T], frozen=True):
    """An integer (or with `kind=float` any number) between two bounds; `"${VAR}"` may stand in for it."""

    kind: type[T]
    least: float
    most: float

    @property
    def expected(self) -> str:
        noun = "an integer" if self.kind is int else "a number"
        return f"{noun} from {_plain(self.least)} to {_plain(self.most)}"

    def read(self, value: object, place: KeyPath) -> T | None:
        if isinstance(value, str) and "$" in value:
            text = place.text(value)
            if text is None:
                return None
            try:
                value = int(text) if self.kind is int else float(text)
            except ValueError:
                value = text
        if isinstance(value, bool) or not isinstance(value, (int, float) if self.kind is float else int):
            return place.wrong(self.expected, value)
        if not self.least <= value <= self.most:
            return place.wrong(self.expected, value)
        return self.kind(value)  # type: ignore[call-arg]

    def schema(self) -> Schema:
        name = "integer" if self.kind is int else "number"
        return either({"type": name, "minimum": self.least, "maximum": self.most}, {"type": "string", "pattern": r"\$"})


class Choice(Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: object, place: KeyPath) -> Any:
        expected = spoken([f'"{word}"' for word in self.words])
        if not isinstance(value, str):
            return place.wrong(expected, value)
        text = place.text(value)
        if text is not None and text not in self.words:
            return place.wrong(expected, text, nearest(text, self.words))
        return text

    def schema(self) -> Schema:
        return either({"enum": list(self.words)}, {"type": "string", "pattern": r"\$"})


class True_(Struct, frozen=True):
    """A switch that is only ever turned on: `tcp = true`."""

    def read(self, value: object, place: KeyPath) -> bool | None:
        return True if value is True else place.wrong("true", value)

    def schema(self) -> Schema:
        return {"const": True}


class Truth(Struct, frozen=True):
    """true or false."""

    def read(self, value: object, place: KeyPath) -> bool | None:
        return value if isinstance(value, bool) else place.wrong("true or false", value)

    def schema(self) -> Schema:
        return {"enum": [True, False]}


class Many(Struct, Generic[T], frozen=True):
    """A list of one shape, as a tuple; with `lone`, a single value stands for a list of one."""

    each: Shape[T]
    noun: str
    lone: bool = False
    least: int = 0

    def read(self, value: object, place: KeyPath) -> tuple[T, ...] | None:
        if self.lone and isinstance(value, str):
            only = self.each.read(value, place)
            return None if only is None else (only,)
        if not isinstance(value, list) or len(value) < self.least:
            return place.wrong(f"a list of {self.noun}", value)
        read = [self.each.read(item, place.item(index)) for index, item in enumerate(value)]
        good = tuple(item for item in read if item is not None)
        return good if len(good) == len(read) else None

    def schema(self) -> Schema:
        whole: Schema = {"type": "array", "items": self.each.schema()}
        if self.least:
            whole["minItems"] = self.least
        return either(self.each.schema(), whole) if self.lone else whole


class Table(Struct, Generic[T], frozen=True):
    """A table whose keys the user names, all values of one shape."""

    each: Shape[T]
    noun: str
    key_pattern: str
    key_expected: str

    def read(self, value: object, place: KeyPath) -> dict[str, T] | None:
        if not isinstance(value, dict):
            return place.wrong(f"a table of {self.noun}", value)
        read = {name: self._one(name, item, place.key(name)) for name, item in value.items()}
        good = {name: item for name, item in read.items() if item is not None}
        return good if len(good) == len(read) else None

    def _one(self, name: str, item: object, place: KeyPath) -> T | None:
        if not _is_whole(self.key_pattern, name) or "\0" in name:
            return place.fail(f"expected {self.key_expected} as the key")
        return self.each.read(item, place)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": self.each.schema(),
            "propertyNames": {"pattern": self.key_pattern},
        }


class OneOf(Struct, Generic[T], frozen=True):
    """Different shapes for different TOML types: `{str: …, dict: …}`."""

    by_type: dict[type, Shape[T]]
    expected: str

    def read(self, value: object, place: KeyPath) -> T | None:
        shape = self.by_type.get(type(value))
        return place.wrong(self.expected, value) if shape is None else shape.read(value, place)

    def schema(self) -> Schema:
        return either(*(shape.schema() for shape in self.by_type.values()))


class Then(Struct, Generic[T], frozen=True):
    """What another shape read, taken one step further; `step` may tell the place and give None."""

    shape: Shape[Any]
    step: Callable[[Any, KeyPath], T | None]

    def read(self, value: object, place: KeyPath) -> T | None:
        read = self.shape.read(value, place)
        return None if read is None else self.step(read, place)

    def schema(self) -> Schema:
        return self.shape.schema()


class Keys(Struct, frozen=True):
    """A table with known keys; gives a dict of those that were there and right."""

    shapes: dict[str, Shape[Any]]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    noun: str = "a table"

    def read(self, value: object, place: KeyPath) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            return place.wrong(self.noun, value)
        good: dict[str, Any] = {}
        for name, item in value.items():
            shape = self.shapes.get(name)
            if shape is None:
                hint = nearest(name, self.shapes) or f" (known: {', '.join(self.shapes)})"
                place.key(name).fail(f"unknown key, expected a key of {self._called(place)}{hint}")
            elif (read := shape.read(item, place.key(name))) is not None:
                good[name] = read
        for name in self.required:
            if name not in value:
                needed = spoken(self.required, "and")
                place.key(name).fail(f"expected it to be set, {self._called(place)} needs {needed}")
        if self.one_of and sum(name in value for name in self.one_of) != 1:
            given = [name for name in self.one_of if name in value]
            got = spoken(given, "and") if given else "none"
            place.fail(f"expected exactly one of {spoken(self.one_of)}, got {got}")
        return good

    def _called(self, place: KeyPath) -> str:
        return f"[{place.path}]" if place.path else "the manifest"

    def schema(self) -> Schema:
        whole: Schema = {
            "type": "object",
            "properties": {name: shape.schema() for name, shape in self.shapes.items()},
            "additionalProperties": False,
        }
        if self.required:
            whole["required"] = list(self.required)
        if self.one_of:
            whole["oneOf"] = [{"required": [name]} for name in self.one_of]
        return whole


def string_schema(pattern: str, description: str) -> Schema:
    """A string of `pattern`, or one with something to interpolate in it."""
    whole: Schema = {"type": "string", "description": description}
    if pattern:
        whole["pattern"] = rf"{pattern}|\$"
    return whole


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


DURATION = Parsed(durations.parse_duration, durations.DURATION_FORM, durations.DURATION_PATTERN + "|^0$")
SIZE = Parsed(durations.parse_size, durations.SIZE_FORM, durations.SIZE_PATTERN)
HOST_PORT = Parsed(parse_host_port, 'host:port, such as "127.0.0.1:5555"', r"^.+:[0-9]+$")
LISTEN = Parsed(parse_listen, 'host:port, such as "127.0.0.1:5555", or "auto"', r"^(auto|.+:[0-9]+)$")
SCHEDULE = Parsed(parse_schedule, SCHEDULE_FORM, r"^\s*(@[A-Za-z]+|every\s.+|(\S+\s+){4}\S+)\s*$")
WATCH = Parsed(parse_watch, WATCH_FORM, r"[^!/ ]")
UMASK = Parsed(parse_umask, 'an octal mask such as "022"', r"^(0o)?[0-7]{1,4}$")
SIGNAL = Parsed(parse_signal, "a signal such as TERM, INT or QUIT")
