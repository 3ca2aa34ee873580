"""Key paths as text, as messages show them: `services.web.env."a b"`, `watch[0]`."""

import re
from collections.abc import Iterable

Part = str | int
"""A key of a table, or the index of an item of a list."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r'\.?(?:\[([0-9]+)\]|"((?:[^"\\]|\\.)*)"|([^."\[]+))', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def append_key(path: str, name: str) -> str:
    """Return the path of the key `name` in the table at `path`."""
    part = name if _BARE_KEY.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{path}.{part}" if path else part


def append_index(path: str, index: int) -> str:
    """Return the path of an item in the list at `path`."""
    return f"{path}[{index}]"


def join_path(parts: Iterable[Part]) -> str:
    """Return the text of a path."""
    path = ""
    for part in parts:
        path = append_index(path, part) if isinstance(part, int) else append_key(path, part)
    return path


def split_path(path: str) -> list[Part]:
    """Return the parts of a path's text; what is no path ends it."""
    parts: list[Part] = []
    at = 0
    while match := _PART.match(path, at):
        index, quoted, bare = match.groups()
        parts.append(int(index) if index else bare if quoted is None else _ESCAPED.sub(r"\1", quoted))
        at = match.end()
    return parts
