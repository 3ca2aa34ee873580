"""The files of a manifest as text and as trees, with the places of their mistakes: TOML files, `.env`, and `env_file`s."""

import re
import shlex
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from minikube.errors import ManifestError, Problem
from minikube.manifest.hints import OTHER_FORMATS
from minikube.manifest.tree.node import Node, Source, make_tree
from minikube.manifest.tree.positions import NestedTooDeeply, find_doubled, read_spots
from minikube.manifest.variables.env_file import EnvFileError, parse_env_file
from minikube.text import printable

MAX_BYTES = 1024 * 1024

_LONG_INTEGER = re.compile(r"[0-9](?:_?[0-9]){1000}")
_AT = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


class VariablesFile(Struct, frozen=True):
    """The content of a `.env` file."""

    values: dict[str, str] = {}
    positions: dict[str, tuple[int, int]] = {}
    """The line and the column of each name."""
    ignored: tuple[int, ...] = ()
    """The numbers of the lines that are no assignments."""


def read_tree(path: Path, index: int = 0) -> Node:
    """Return the tree of a TOML file, number `index` of a manifest. Raises ManifestError."""
    shown = printable(str(path))
    try:
        text = _read_text(path)
    except FileNotFoundError:
        hint = "" if index else " — `minikube init` writes a first one"
        raise ManifestError(Problem(shown, f"no such file{hint}")) from None
    except OSError as error:
        raise ManifestError(Problem(shown, f"cannot be read ({(error.strerror or 'unreadable').lower()})")) from None
    source = Source(shown, text, index)
    try:
        raw = tomllib.loads(text)
        if not raw:  # an empty file is TOML, whatever its name says
            _refuse_other_format(path)
        return make_tree(raw, read_spots(text), source)
    except tomllib.TOMLDecodeError as error:
        _refuse_other_format(path)
        if str(error).startswith(("Cannot ", "Duplicate ")) and (doubled := find_doubled(text)):
            first, _ = source.position(doubled.first)
            raise ManifestError(
                Problem(
                    shown,
                    f"not TOML: {printable(doubled.name)} is there twice, first in line {first} — remove one of them",
                    "",
                    *source.position(doubled.second),
                )
            ) from None
        match = _AT.fullmatch(str(error))
        line, column = (int(match[2]), int(match[3])) if match and match[2] else source.position(len(text))
        raise ManifestError(
            Problem(shown, f"not TOML: {printable(match[1] if match else str(error))}", "", line, column)
        ) from None
    except ValueError:  # an integer that is too long for Python to convert
        number = _LONG_INTEGER.search(text)
        raise ManifestError(
            Problem(
                shown, "not TOML: a number has too many digits", "", *source.position(number.start() if number else 0)
            )
        ) from None
    except (RecursionError, NestedTooDeeply) as error:
        raise ManifestError(
            Problem(shown, "not TOML: nested too deeply", "", *source.position(_too_deep(text, error)))
        ) from None


def _too_deep(text: str, error: Exception) -> int:
    """Return the offset at which a text is nested too deeply."""
    if isinstance(error, NestedTooDeeply):
        return error.offset
    try:
        read_spots(text)
    except NestedTooDeeply as found:
        return found.offset
    raise AssertionError("tomllib nests deeper than this reader")


def read_variables(path: Path, environ: Mapping[str, str], key: str = "") -> VariablesFile:
    """Return the content of a `.env` file. `key` is the path of the key that names it.

    A name without a value takes that of `environ`. Raises ManifestError for its content, and OSError.
    """
    positions: dict[str, tuple[int, int]] = {}
    ignored: list[int] = []

    def note(name: str, line: int, column: int) -> None:
        positions[name] = line, column

    try:
        values = parse_env_file(_read_text(path, key), environ, ignored.append, note)
    except EnvFileError as error:
        raise ManifestError(Problem(printable(str(path)), error.message, key, error.line, error.column)) from None
    return VariablesFile(values, positions, tuple(ignored))


def _read_text(path: Path, key: str = "") -> str:
    """Return the text of a file, without a byte order mark. Raises OSError, and ManifestError where it is no such text."""
    shown = printable(str(path))
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ManifestError(Problem(shown, "expected at most 1M, got more", key))
    raw = raw.removeprefix(BOM_UTF8)  # editors on Windows write it
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line_start = raw.rfind(b"\n", 0, error.start) + 1
        line, column = raw.count(b"\n", 0, error.start) + 1, len(raw[line_start : error.start].decode()) + 1
        text = f"expected UTF-8, got the byte 0x{raw[error.start]:02x}"
        raise ManifestError(Problem(shown, text, key, line, column)) from None


def _refuse_other_format(path: Path) -> None:
    """Raise ManifestError for a file whose name is that of another format."""
    if other := OTHER_FORMATS.get(path.suffix.lower()):
        command = f"minikube import {shlex.quote(str(path))}"
        text = printable(f"a manifest is TOML, not {other} — `{command}` writes one from it")
        raise ManifestError(Problem(printable(str(path)), text))
