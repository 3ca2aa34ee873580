"""Problems and warnings of a manifest, by key path, and "did you mean" hints."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Never

from msgspec import Struct

from minikube.manifest.locate import find_line, key_lines
from minikube.manifest.variables.interpolate import interpolate
from minikube.text import mask_url, printable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARACTERS = 60


class ManifestReading:
    """The state of reading one manifest: problems and warnings so far, and the variables for interpolation.

    `dotenv` is the content of `.env`, which is in `variables`, too. `text` is the content of the file, for lines in messages.
    """

    def __init__(
        self,
        file: str,
        directory: Path,
        variables: Mapping[str, str],
        dotenv: Mapping[str, str] | None = None,
        text: str = "",
    ) -> None:
        self.file = file
        self._text = text
        self._lines: dict[str, int] | None = None
        self.directory = directory
        self.variables = variables
        self.dotenv = dotenv or {}
        self.problems: dict[str, str] = {}
        """The first problem of each key path, as a line for the user."""
        self.warnings: dict[str, None] = {}

    def fail(self, path: str, message: str) -> None:
        """Record a problem at a key path; ignore it if the path has a problem already."""
        self.problems.setdefault(path, printable(f"{self._place(path)}: {message}"))

    def warn(self, path: str, message: str) -> None:
        """Record a warning at a key path."""
        self.warnings[printable(f"{self._place(path)}: {message}")] = None

    def _place(self, path: str) -> str:
        """Return the file, the line where it is known, and the key path."""
        if self._lines is None:
            self._lines = key_lines(self._text)
        line = find_line(self._lines, path)
        return ": ".join(part for part in (f"{self.file}:{line}" if line else self.file, path) if part)

    def warn_ignored(self, file: Path, line: int) -> None:
        """Record a warning about a line of a `.env` file that is no assignment."""
        text = f"{file}:{line}: is neither NAME=value nor a name, and is ignored: no shell reads this file"
        self.warnings[printable(text)] = None

    def failed(self, path: str) -> bool:
        """Return whether `path` or a key below it has a problem: rules that depend on it are then skipped."""
        return any(seen == path or seen.startswith((f"{path}.", f"{path}[")) for seen in self.problems)


class KeyPath(Struct, frozen=True):
    """The full path of a key in the manifest that is being read."""

    reading: ManifestReading
    path: str = ""
    secret: bool = False
    ports: frozenset[str] = frozenset()
    """The variables of the named ports of the service that is being read."""

    def key(self, name: str) -> "KeyPath":
        """Return the path of the key `name` of the table at this path."""
        part = name if _BARE_KEY.fullmatch(name) else f'"{name}"'
        return KeyPath(self.reading, f"{self.path}.{part}" if self.path else part, self.secret, self.ports)

    def item(self, index: int) -> "KeyPath":
        """Return the path of item `index` of the list at this path."""
        return KeyPath(self.reading, f"{self.path}[{index}]", self.secret, self.ports)

    def fail(self, message: str) -> Never | None:  # noqa: RUF020 - mypy lets a plain None not be returned
        """Record a problem at this key and return None, so that a caller can `return key.fail(…)`."""
        self.reading.fail(self.path, message)
        return None

    def wrong(self, expected: str, value: object, hint: str = "") -> Never | None:  # noqa: RUF020
        """Record the problem "expected `expected`, got `value`" with an optional hint at this key, and return None."""
        return self.fail(f"expected {expected}, got {describe_value(value, secret=self.secret)}{hint}")

    def text(self, value: str, *, later: bool = False, keep_unset: bool = False) -> str | None:
        """Return `value` with its variables replaced; None after recording a problem.

        `later` and `keep_unset` are as for `interpolate`.
        """
        if "\0" in value:
            return self.fail("expected no NUL character")
        try:
            return interpolate(
                value,
                self.reading.variables,
                later=later,
                ports=self.ports,
                keep_unset=keep_unset,
                warn=self._warn_unset,
            )
        except ValueError as error:
            return self.fail(str(error))

    def _warn_unset(self, name: str) -> None:
        text = f"{name} is not set, empty is used — set it, or write ${{{name}:-default}}"
        if name in self.reading.dotenv:  # and not in the variables: see `load.APPLICATION_VARIABLES`
            text = f"{name} of .env belongs to the application and is not used here, empty is used — write the value itself"
        self.reading.warn(self.path, text)


def describe_value(value: object, *, secret: bool = False) -> str:
    """Return a raw TOML value in words for an error message; with `secret` its content is not shown."""
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


def did_you_mean(
    name: str, valid: Collection[str], cutoff: float = 0.55, words: Mapping[str, str] | None = None
) -> str:
    """Return ` (did you mean NAME?)` with the valid name nearest to `name`; empty where none is near.

    `cutoff` is the least similarity, from 0 to 1. `words` are names of other tools, with what to use in their place.
    """
    if words and (meant := words.get(name.lower())):
        return f" (did you mean {meant}?)"
    lowered = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return f" (did you mean {lowered[found[0]]}?)" if found else ""


def join_words(names: Sequence[str], word: str = "or") -> str:
    """Return the names as `a`, `a or b` or `a, b or c`; `word` replaces `or`."""
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
