"""An `Imported` as the text of a `supervisor.toml`, with a comment at each line that is not exact. Pure.

The list of what was left out stands at the top, each with its line in the source. Keys come in one order for all services:
first what runs, then where, then its ports, then the tables. The text is valid TOML for any values and notes.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from minikube.importers.result import Imported, KeyPath, Note
from minikube.text import INVISIBLE, is_hidden, printable

WIDTH = 100
"""The most characters of a line with a list or table; longer ones get a line for each item."""

COMMENT_WIDTH = 120

ORDER = (
    *("extends", "image", "build", "entrypoint", "command", "shell", "args", "runtime", "pull", "cwd", "user", "group"),
    *("umask", "port", "container_port", "ports", "host", "network", "extra_hosts", "env_file", "env", "depends_on"),
    *("replicas", "profiles", "groups", "tags", "register", "volumes", "engine_args", "init", "watch", "schedule"),
    *("on_exit", "health", "restart", "stop", "limits", "logs", "meta"),
)
"""The order of a service's keys; others come after them."""

SECTIONS = frozenset({"env", "health", "restart", "stop", "limits", "logs", "meta"})
"""Tables of a service that get a header of their own, unless they are one short pair."""


def write_manifest(imported: Imported) -> str:
    """Return the text of the manifest."""
    return _Writer(imported).text()


class _Writer:
    """The lines of one manifest so far."""

    def __init__(self, imported: Imported) -> None:
        self.imported = imported
        self.lines: list[str] = []
        self.main = imported.sources[0].name if imported.sources else ""
        self.comments: dict[KeyPath, list[Note]] = {}
        whole = imported.manifest()
        self.top: list[Note] = []
        for note in imported.notes:
            if note.kind == "inexact" and (path := _existing(whole, note.path)):
                self.comments.setdefault(path, []).append(note)
            elif note.kind == "inexact":
                self.top.append(note)

    def text(self) -> str:
        imported = self.imported
        files = ", ".join(source.name for source in imported.sources)
        self.add_comment(f"Made by `minikube import` from {files} ({imported.tool}).")
        self.list_notes("Taken with a difference:", self.top)
        self.list_notes("Left out:", [note for note in imported.notes if note.kind == "refused"])
        manifest = imported.manifest()
        services = manifest.pop("services")
        self.lines.append("")
        self.add_table((), manifest)
        for name, service in services.items():
            self.open_section(("services", name))
            ordered = {key: service[key] for key in ORDER if key in service} | service
            self.add_table(("services", name), ordered)
        if not services:
            self.open_section(("services",))
        return "\n".join(self.lines).rstrip("\n") + "\n"

    def list_notes(self, title: str, notes: Sequence[Note]) -> None:
        if notes:
            self.lines.append("#")
            self.add_comment(title)
            places: dict[str, list[str]] = {}
            for note in notes:
                place = self.place(note)
                place = place if note.source == place else f"{place}, {note.source}"
                places.setdefault(note.text, []).append(place)
            for text, found in places.items():  # one line for all that have the same reason
                self.add_comment(f"{'; '.join(found)}: {text}", bullet="- ")

    def place(self, note: Note) -> str:
        """Return where the source has the key of a note: `line 7`, or `compose.override.yaml:7` where it is another file."""
        span = note.span
        if not span.line:
            return span.file
        return f"line {span.line}" if span.file == self.main else f"{span.file}:{span.line}"

    def add_comment(self, text: str, bullet: str = "") -> None:
        body = printable(" ".join(text.split()))
        self.lines += textwrap.wrap(
            body,
            COMMENT_WIDTH,
            initial_indent=f"# {bullet}",
            subsequent_indent="# " + " " * len(bullet),
            break_long_words=False,
            break_on_hyphens=False,
        )

    def add_notes(self, path: KeyPath) -> None:
        for note in self.comments.get(path, ()):
            self.add_comment(f"{self.place(note)}: {note.text}")

    def open_section(self, path: KeyPath) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append("")
        self.add_notes(path)
        self.lines.append(f"[{'.'.join(_key(str(part)) for part in path)}]")

    def add_table(self, path: KeyPath, table: Mapping[str, Any]) -> None:
        """Add the keys of a table: those with a value on their line first, as TOML wants it, then those with a header."""
        sections = {key: value for key, value in table.items() if self.needs_section((*path, key), value)}
        for key, value in table.items():
            if key not in sections:
                self.add_notes((*path, key))
                self.add_pair((*path, key), value)
        for key, value in sections.items():
            self.open_section((*path, key))
            self.add_table((*path, key), value)

    def needs_section(self, path: KeyPath, value: object) -> bool:
        """Return whether a value is a table that gets a header: a long one, or one with comments at its keys."""
        if not isinstance(value, Mapping) or not value:
            return False
        line = f"{_key(str(path[-1]))} = {_inline(value)}"
        return len(line) > WIDTH or self.has_notes_below(path) or (path[-1] in SECTIONS and len(value) > 1)

    def has_notes_below(self, path: KeyPath) -> bool:
        return any(len(noted) > len(path) and noted[: len(path)] == path for noted in self.comments)

    def add_pair(self, path: KeyPath, value: Any) -> None:
        key = _key(str(path[-1]))
        if isinstance(value, str) and "\n" in value:
            self.lines += f"{key} = {_long_string(value)}".split("\n")
        elif isinstance(value, list) and (self.has_notes_below(path) or _is_long(key, value)):
            self.lines.append(f"{key} = [")
            for index, item in enumerate(value):
                start = len(self.lines)
                self.add_notes((*path, index))
                self.lines[start:] = [f"    {line}" for line in self.lines[start:]]
                text = _long_string(item) if isinstance(item, str) and "\n" in item else _inline(item)
                self.lines += f"    {text},".split("\n")
            self.lines.append("]")
        else:
            self.lines.append(f"{key} = {_inline(value)}")


def _existing(manifest: Mapping[str, Any], path: KeyPath) -> KeyPath:
    """Return the longest beginning of `path` that the manifest has; () where it has none."""
    found: Any = manifest
    items = (index + 1 for index, part in enumerate(path) if isinstance(part, int))
    path = path[: next(items, len(path))]  # what is within an item of a list stands on the item's line
    for index, part in enumerate(path):
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            # A section of its own has a header, on which a comment can stand; `[services]` has none.
            return () if path[:index] == ("services",) else path[:index]
    return () if path == ("services",) else path


def _is_long(key: str, items: list[Any]) -> bool:
    """Return whether each item of a list gets lines of its own."""
    return len(key + _inline(items)) + 3 > WIDTH or any(isinstance(item, str) and "\n" in item for item in items)


def _key(name: str) -> str:
    return _visible(tomli_w.dumps({name: 0}).removesuffix(" = 0\n"))


def _inline(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, str) and ('"' in value or "\\" in value) and "'" not in value and value.isprintable():
        return f"'{value}'"
    return _basic(value)


def _basic(value: Any) -> str:
    """Return a value that is no table or list; a string in double quotes."""
    return _visible(tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n"))


def _visible(text: str) -> str:
    """Return TOML with escapes for the characters of a double-quoted string that reorder or hide what stands there."""
    return INVISIBLE.sub(lambda match: _escape(ord(match[0])) if is_hidden(match) else match[0], text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _long_string(text: str) -> str:
    """Return a string of several lines, as it is where TOML allows it, else with escapes."""
    lines = text.split("\n")
    if "'''" not in text and not text.endswith("'") and all(line.replace("\t", "").isprintable() for line in lines):
        return f"'''\n{text}'''"
    body = "\n".join(_basic(line)[1:-1] for line in lines)
    return f'"""\n{body}"""'
