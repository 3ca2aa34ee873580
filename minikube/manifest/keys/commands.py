"""The shapes of commands: a list of words, a string that is split into words, or `shell`, lines for `sh -ec`.

A string is split as a shell would split it, but no shell runs: shell syntax in it is a warning that names `shell`.
"""

import re
import shlex

from msgspec import Struct

from minikube.manifest import json_schema
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.json_schema import Schema
from minikube.manifest.shapes import Converted, ListOf, OneOf, Shape, Text

_WORDS = "a list of strings, or a string"
_COMMAND_LINE = "a string"

_SHELL = re.compile(r"(?:.*/)?(?:ba|da|k|z|a|fi)?sh")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_BUILTINS = frozenset(
    {
        *(".", ":", "alias", "case", "cd", "command", "eval", "exec", "export", "for", "if", "jobs", "read", "set"),
        *("source", "trap", "type", "ulimit", "umask", "unset", "until", "wait", "while", "{"),
    }
)
"""First words that a shell understands and that are no programs."""

_OUTSIDE = re.compile(r"&&|&(?=\s|$)|\|+|;|[<>]+|\n|\$\(|`|\$[A-Za-z_][A-Za-z0-9_]*")
_IN_DOUBLE_QUOTES = re.compile(r"\$\(|`")


class _CommandLine(Struct, frozen=True):
    """A string that is split into words as a shell would."""

    def read(self, value: object, key: KeyPath) -> tuple[str, ...] | None:
        text = Text(later=True).read(value, key)
        if text is None:
            return None
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            return key.wrong(f"a command line that a shell could split ({str(error).lower()})", text)
        if not words:
            return key.fail("expected a command, got an empty string")
        if (found := find_shell_syntax(str(value))) is not None:
            shown = "a line break" if found == "\n" else f"`{found}`"
            key.warn(f"{shown} is not understood, as no shell runs a command — {_advice(key)}")
        return words

    def schema(self) -> Schema:
        return json_schema.string("", _COMMAND_LINE)


def _advice(key: KeyPath) -> str:
    shell = f"{key.path.rpartition('.')[0]}.shell"
    return f"set {shell} in its place, or quote what is meant as it is written"


def find_shell_syntax(text: str) -> str | None:
    """Return the first part of a command line that only a shell would understand; None where there is none.

    Quoted text is none, and neither is what is handed to a shell: `sh -c "echo $(date)"`.
    """
    text = text.strip()
    first = text.split(maxsplit=1)[0] if text else ""
    if first in _BUILTINS or _ASSIGNMENT.match(first):
        return first
    for at, quote in _unescaped(text):
        pattern = _OUTSIDE if not quote else _IN_DOUBLE_QUOTES
        if quote == "'" or (quote and _SHELL.fullmatch(first)):
            continue
        if match := pattern.match(text, at):
            return match[0]
    return None


def _unescaped(text: str) -> list[tuple[int, str]]:
    """Return the index of each character that no backslash escapes, with the quote that it is in: `"`, `'` or none."""
    found: list[tuple[int, str]] = []
    quote, at = "", 0
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'":
            at += 2
            continue
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif text.startswith(("$$", "${"), at):
            at += 1  # a dollar, or a variable: see `interpolate`
        else:
            found.append((at, quote))
        at += 1
    return found


def _check_first_word(words: tuple[str, ...], key: KeyPath) -> tuple[str, ...] | None:
    return words if words[0] else key.item(0).fail("expected a command, got an empty string")


_LATER = Text(later=True)

COMMAND: Shape[tuple[str, ...]] = OneOf(
    {list: Converted(ListOf(_LATER, "strings", least=1), _check_first_word), str: _CommandLine()}, _WORDS
)
COMMAND_OR_NONE: Shape[tuple[str, ...]] = OneOf({list: ListOf(_LATER, "strings"), str: _CommandLine()}, _WORDS)

SHELL: Shape[str] = Text("a line or lines for a shell", r"^(?s:.*\S.*)$", later=True, keep_unset=True)
"""Variables that are not set stay in place: the shell may know them, from `env` or from the lines themselves."""
