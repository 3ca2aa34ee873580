"""The line of each key in the text of a TOML file: `tomllib` does not tell them.

It reads table headers and the first key of each line, and skips values that span lines. Keys inside inline tables and lists
have the line of the key that holds them.
"""

import re

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART})*)[ \t]*=")
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART})*)[ \t]*\]")
_TOKEN = re.compile(
    r"""\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[\]{}\n]""", re.DOTALL
)
_LAST_PART = re.compile(r"""(?:\[[0-9]+\]|\.?(?:"[^"]*"|[^."\[\]]+))$""")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def key_lines(text: str) -> dict[str, int]:
    """Return the line, from 1, of each table and key, by its path as messages show it: `services.x.port`, `meta."a b"`."""
    found: dict[str, int] = {}
    table, at, line = "", 0, 1
    while at < len(text):
        if match := _HEADER.match(text, at):
            table = _path(match[1])
            found.setdefault(table, line)
        elif match := _KEY.match(text, at):
            found.setdefault(f"{table}.{_path(match[1])}" if table else _path(match[1]), line)
        end = _end_of_value(text, match.end() if match else at)
        line += text.count("\n", at, end)
        at = end
    return found


def find_line(lines: dict[str, int], path: str) -> int:
    """Return the line of a key path, or of the nearest table or list that holds it; 0 where there is none."""
    while path:
        if path in lines:
            return lines[path]
        if below := [line for key, line in lines.items() if key.startswith(f"{path}.")]:
            return min(below)
        parent = _LAST_PART.sub("", path)
        path = parent if parent != path else ""
    return 0


def _end_of_value(text: str, at: int) -> int:
    """Return the index after the line break that ends the value at `at`, past lists, tables and strings of several lines."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.end()
    return len(text)


def _path(written: str) -> str:
    """Return a key as messages show it."""
    parts = [part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, written)]
    return ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in parts)
