"""Problems and warnings of a manifest, by key path, and "did you mean" hints."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Never

from msgspec import Struct

from minikube.errors import Problem
from minikube.manifest.tree.node import Node, Source
from minikube.manifest.tree.paths import append_index, append_key, split_path
from minikube.manifest.variables.interpolate import UseKind, interpolate
from minikube.text import mask_url, printable

DOTENV_FILE = ".env"

_SHOWN_CHARACTERS = 60


class VariableUse(Struct, frozen=True):
    """A `${VAR}` in a value of the manifest, and what stands in its place."""

    name: str
    kind: UseKind


class ManifestReading:
    """The state of reading one manifest: its tree, its problems and warnings so far, and the variables for interpolation.

    `dotenv` is the content of `.env`, which is in `variables`, too.
    """

    def __init__(
        self,
        tree: Node,
        directory: Path,
        variables: Mapping[str, str],
        dotenv: Mapping[str, str] | None = None,
    ) -> None:
        self.tree = tree
        self.directory = directory
        self.variables = variables
        self.dotenv = dotenv or {}
        self.dotenv_positions: Mapping[str, tuple[int, int]] = {}
        """The line and the column of each variable in `.env`."""
        self.environ: frozenset[str] = frozenset()
        """The names of the variables that come from the environment."""
        self.bases: tuple[str, ...] = ()
        """The services that are only extended: see `inherit`."""
        self.uses: dict[str, dict[VariableUse, None]] = {}
        """The variables in each value, by its key path."""
        self._failed: set[str] = set()
        self._problems: dict[tuple[int, int, str], Problem] = {}
        self._warnings: dict[Problem, None] = {}

    @property
    def dotenv_path(self) -> Path:
        """The path of the project's `.env`."""
        return self.directory / DOTENV_FILE

    @property
    def problems(self) -> list[Problem]:
        """The first problem of each key path, in the order of the files."""
        return [problem for _, problem in sorted(self._problems.items(), key=lambda found: found[0][:2])]

    @property
    def warnings(self) -> list[Problem]:
        """The warnings, in the order in which they were found."""
        return list(self._warnings)

    def fail(self, path: str, message: str, *, at: str = "") -> None:
        """Record a problem at a key path; ignore it if the path has a problem already.

        Its place is that of the value, or of the value at the path `at`.
        """
        if path not in self._failed:
            self._failed.add(path)
            source, offset, _ = self._place(at or path)
            self._problems.setdefault((source.index, offset, path), self._problem(source, offset, path, message))

    def fail_value(self, path: str, message: str, *, is_key: bool) -> None:
        """Record a problem of a value alone, whatever other keys there are; with `is_key`, a problem of the key.

        A value that several services inherit has one problem, with the path where it stands.
        """
        if path not in self._failed:
            self._failed.add(path)
            source, offset, node_path = self._place(path, is_key=is_key)
            shown = node_path or path
            self._problems.setdefault((source.index, offset, shown), self._problem(source, offset, shown, message))

    def skip(self, path: str) -> None:
        """Have `failed` return True for a key path whose problem is recorded at another path already."""
        self._failed.add(path)

    def fail_file(self, problem: Problem) -> None:
        """Record a problem of a file that is read together with the manifest, such as `.env`."""
        self._failed.add(problem.path)
        self._problems.setdefault((-1, 0, str(problem)), problem)

    def warn(self, path: str, message: str) -> None:
        """Record a warning at the value of a key path."""
        self._warnings[self.make_problem(path, message)] = None

    def warn_value(self, path: str, message: str) -> None:
        """Record a warning of a value alone: once for all services that inherit it, with the path where it stands."""
        source, offset, node_path = self._place(path)
        self._warnings[self._problem(source, offset, node_path or path, message)] = None

    def warn_node(self, node: Node, message: str) -> None:
        """Record a warning at a node of any tree."""
        self._warnings[self._problem(node.source, node.value_at, node.path, message)] = None

    def warn_ignored(self, file: Path, line: int, column: int = 1) -> None:
        """Record a warning about a line of a `.env` file that is no assignment."""
        text = "is neither NAME=value nor a name, and is ignored: no shell reads this file"
        self._warnings[Problem(printable(str(file)), text, "", line, column)] = None

    def without_warnings(self) -> "ManifestReading":
        """Return a reading that records its problems here, and drops its warnings and its uses of variables."""
        quiet = ManifestReading(self.tree, self.directory, self.variables, self.dotenv)
        quiet._failed, quiet._problems = self._failed, self._problems
        return quiet

    def failed(self, path: str) -> bool:
        """Return whether `path` or a key below it has a problem: rules that depend on it are then skipped."""
        return any(seen == path or seen.startswith((f"{path}.", f"{path}[")) for seen in self._failed)

    def make_value_problem(self, path: str, message: str) -> Problem:
        """Return a problem of a value alone, equal for all services that inherit it, without recording it.

        It names a short form in place of the table that it is short for.
        """
        node, _ = self.tree.find(split_path(path))
        return self._problem(node.source, node.value_at, node.path, message)

    def find_place(self, path: str) -> tuple[int, int]:
        """Return the number of the file and the offset of the value of a key path, equal for all that inherit the value."""
        source, offset, _ = self._place(path)
        return source.index, offset

    def note_variable(self, path: str, name: str, kind: UseKind) -> None:
        """Record that the value at a key path uses a variable."""
        self.uses.setdefault(path, {})[VariableUse(name, kind)] = None

    def make_problem(self, path: str, message: str) -> Problem:
        """Return a problem at the value of a key path, without recording it."""
        source, offset, _ = self._place(path)
        return self._problem(source, offset, path, message)

    def _place(self, path: str, *, is_key: bool = False) -> tuple[Source, int, str]:
        """Return the file and the offset of a key path, and the path that the value has there; empty where there is none."""
        node, exact = self.tree.find(split_path(path))
        return node.source, node.value_at if exact and not is_key else node.key, node.path if exact else ""

    def _problem(self, source: Source, offset: int, path: str, message: str) -> Problem:
        return Problem(source.file, printable(message), printable(path), *source.position(offset))


class KeyPath(Struct, frozen=True):
    """The full path of a key in the manifest that is being read."""

    reading: ManifestReading
    path: str = ""
    secret: bool = False
    ports: frozenset[str] = frozenset()
    """The variables of the named ports of the service that is being read."""

    def key(self, name: str) -> "KeyPath":
        """Return the path of the key `name` of the table at this path."""
        return KeyPath(self.reading, append_key(self.path, name), self.secret, self.ports)

    def item(self, index: int) -> "KeyPath":
        """Return the path of item `index` of the list at this path."""
        return KeyPath(self.reading, append_index(self.path, index), self.secret, self.ports)

    def fail(self, message: str) -> Never | None:  # noqa: RUF020 - mypy lets a plain None not be returned
        """Record a problem of the value and return None, so that a caller can `return key.fail(…)`."""
        self.reading.fail_value(self.path, message, is_key=False)
        return None

    def fail_key(self, message: str) -> Never | None:  # noqa: RUF020
        """Record a problem of the key itself, or of one that is missing, and return None."""
        self.reading.fail_value(self.path, message, is_key=True)
        return None

    def warn(self, message: str) -> None:
        """Record a warning of the value."""
        self.reading.warn_value(self.path, message)

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
                note=self._note,
            )
        except ValueError as error:
            return self.fail(str(error))

    def _note(self, name: str, kind: UseKind) -> None:
        """Record the use of a variable, with a warning where it is not set."""
        self.reading.note_variable(self.path, name, kind)
        if kind != "unset":
            return
        text = f"{name} is not set, empty is used — set it, or write ${{{name}:-default}}"
        if name in self.reading.dotenv:  # and not in the variables: see `load.APPLICATION_VARIABLES`
            text = f"{name} of .env belongs to the application and is not used here, empty is used — write the value itself"
        self.warn(text)


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
