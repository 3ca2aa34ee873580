"""Where a reading stands and what it has found wrong (floor 0): key paths, problems, warnings, hints."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Never

from msgspec import Struct

from minikube.manifest.interpolate import interpolate
from minikube.text import mask_url, printable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARACTERS = 60


class Reading:
    """What one load gathers: problems, warnings, and the variables to put in."""

    def __init__(self, file: str, directory: Path, variables: Mapping[str, str]) -> None:
        self.file = file
        self.directory = directory
        self.variables = variables
        self.problems: dict[str, str] = {}
        """Key path → the whole line; the first problem of a place is the one worth telling."""
        self.warnings: dict[str, None] = {}

    def fail(self, path: str, message: str) -> None:
        where = f"{self.file}: {path}" if path else self.file
        self.problems.setdefault(path, printable(f"{where}: {message}"))

    def warn(self, path: str, message: str) -> None:
        self.warnings[printable(f"{self.file}: {path}: {message}")] = None

    def failed(self, path: str) -> bool:
        """Whether something at `path` or below it was wrong: rules that build on it keep quiet then."""
        return any(seen == path or seen.startswith((f"{path}.", f"{path}[")) for seen in self.problems)


class KeyPath(Struct, frozen=True):
    """A key's full path within a reading."""

    reading: Reading
    path: str = ""
    secret: bool = False

    def key(self, name: str) -> "KeyPath":
        part = name if _BARE_KEY.fullmatch(name) else f'"{name}"'
        return KeyPath(self.reading, f"{self.path}.{part}" if self.path else part, self.secret)

    def item(self, index: int) -> "KeyPath":
        return KeyPath(self.reading, f"{self.path}[{index}]", self.secret)

    def fail(self, message: str) -> Never | None:  # noqa: RUF020 - mypy lets a plain None not be returned
        """Tells the reading what is wrong here, and gives None: `return place.fail(…)` is what a failed shape reads."""
        self.reading.fail(self.path, message)
        return None

    def wrong(self, expected: str, value: object, hint: str = "") -> Never | None:  # noqa: RUF020
        """As `fail`: what was expected, what is there, and perhaps a hint."""
        return self.fail(f"expected {expected}, got {describe(value, secret=self.secret)}{hint}")

    def text(self, value: str, *, later: bool = False) -> str | None:
        """`value` interpolated."""
        if "\0" in value:
            return self.fail("expected no NUL character")
        try:
            return interpolate(value, self.reading.variables, later=later, warn=self._unset)
        except ValueError as error:
            return self.fail(str(error))

    def _unset(self, name: str) -> None:
        self.reading.warn(self.path, f"{name} is not set, empty is used — set it, or write ${{{name}:-default}}")


def describe(value: object, *, secret: bool = False) -> str:
    """A raw TOML value for an error message."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "a table"
        case list():
            return "a list" if value else "an empty list"
        case str() | int() | float() if secret:
            return "something else"
        case str():
            shown = mask_url(value)
            return f'"{shown}"' if len(shown) <= _SHOWN_CHARACTERS else f'"{shown[:_SHOWN_CHARACTERS]}…"'
        case _:
            return str(value)


def nearest(name: str, valid: Collection[str]) -> str:
    """The valid name that `name` was probably meant to be, as a hint to append; empty where none is near."""
    lowered = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.55)
    return f" (did you mean {lowered[found[0]]}?)" if found else ""


def spoken(names: Sequence[str], word: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
