"""What a reader of another tool's file returns: the services in the manifest's own shape, and notes on what is not exact. Pure.

A reader makes one `Notes`, adds to it while it reads, and returns an `Imported`. Every key of the source is taken exactly, taken
with a note `inexact`, or left out with a note `refused`: nothing is dropped silently. The counts of lines come from the notes.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["inexact", "refused"]
"""`inexact`: taken, with a difference. `refused`: left out."""

KeyPath = tuple[str | int, ...]
"""The path of a key in the manifest, such as `("services", "web", "volumes", 1)`; an int is the index of a list's item."""


class Span(Struct, frozen=True):
    """The lines of a source file that a key with its value has. Lines count from 1."""

    file: str
    """The name in `SourceFile.name`."""
    line: int
    last_line: int
    column: int = 0
    """Where it begins on its first line, from 1; 0 where only the line is known."""


class SourceFile(Struct, frozen=True):
    """A source file that was read."""

    name: str
    """As notes show it: relative to the directory of the first source file."""
    lines: frozenset[int]
    """The lines that say something: neither blank nor a comment."""


class Note(Struct, frozen=True):
    """A difference between the source and the manifest, and what to do about it."""

    kind: Kind
    span: Span
    source: str
    """The key as the source has it: `services.web.networks`, `[program:web] autostart`."""
    text: str
    """One sentence without a full stop: the difference or the reason, ` — `, what to do. It shows no value that may be secret."""
    path: KeyPath = ()
    """Where the comment of an `inexact` note stands in the manifest. Empty: in the list at the top."""


class Counts(Struct, frozen=True):
    """How many lines of the source were taken as they are, with a comment, or left out."""

    exact: int
    commented: int
    refused: int


class Notes:
    """The notes of one import."""

    def __init__(self) -> None:
        self._notes: dict[Note, Span] = {}
        """By the note, whose span has no column, so that two on one line are one: its whole span."""

    def inexact(self, span: Span, source: str, path: KeyPath, text: str) -> None:
        """Add a note on a key that is taken with a difference; its comment stands at `path`, or at the nearest key above."""
        self._notes.setdefault(Note("inexact", _lines(span), _line(source), _line(text), path), span)

    def refuse(self, span: Span, source: str, text: str) -> None:
        """Add a note on a key that is left out."""
        self._notes.setdefault(Note("refused", _lines(span), _line(source), _line(text)), span)

    def first_refused(self, key: str) -> tuple[Span, str] | None:
        """Return where the first key was left out that is `key` or below it, and the key with the reason; None for none."""
        for note, span in self._notes.items():
            if note.kind == "refused" and (note.source == key or note.source.startswith(f"{key}.")):
                return span, f"{note.source}: {note.text}"
        return None

    def in_order(self) -> tuple[Note, ...]:
        """Return the notes, each once, in the order of the files in which they were found and of their lines."""
        files = list(dict.fromkeys(note.span.file for note in self._notes))
        return tuple(sorted(self._notes, key=lambda note: (files.index(note.span.file), note.span.line)))


def _lines(span: Span) -> Span:
    return Span(span.file, span.line, span.last_line)


def _line(text: str) -> str:
    """Return a text on one line: a key of the source may have line breaks."""
    return " ".join(text.split())


class Imported(Struct, frozen=True):
    """The result of a reader. All values are plain TOML values in the manifest's own shape, with its forms of `${VAR}`."""

    tool: str
    """The name of the format for people: `Compose`."""
    sources: tuple[SourceFile, ...]
    """The files that were read; the first is the one that was asked for."""
    services: Mapping[str, dict[str, Any]]
    """By name, a DNS label: `{"command": ["node", "server.js"], "port": 8080, "health": {"http": "/", "interval": "10s"}}`."""
    name: str = ""
    """The project's name; empty: its directory's name."""
    env: Mapping[str, str] = {}
    env_file: tuple[str | dict[str, Any], ...] = ()
    """Paths from the manifest's directory, or `{"path": …, "required": False}`."""
    notes: tuple[Note, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """Return the whole manifest as plain values."""
        top = {"name": self.name, "env_file": list(self.env_file), "env": dict(self.env)}
        return {key: value for key, value in top.items() if value} | {"services": dict(self.services)}

    def count_lines(self) -> Counts:
        """Count the lines that say something. A line with notes of both kinds is a refused one."""
        marked: dict[Kind, set[tuple[str, int]]] = {"inexact": set(), "refused": set()}
        for note in self.notes:
            span = note.span
            marked[note.kind] |= {(span.file, line) for line in range(span.line, span.last_line + 1)}
        said = {(source.name, line) for source in self.sources for line in source.lines}
        refused = marked["refused"] & said
        commented = (marked["inexact"] & said) - refused
        return Counts(len(said) - len(refused) - len(commented), len(commented), len(refused))
