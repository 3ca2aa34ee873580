"""Options of supervisord's sections and their values: expansions such as `%(ENV_HOME)s`, and lists of variables."""

import os
import re
import shlex
from collections.abc import Mapping

from msgspec import Struct

from minikube.importers.manifest_text import literal
from minikube.importers.result import KeyPath, Notes, Span
from minikube.importers.supervisord.ini import Section
from minikube.manifest.diagnostics import did_you_mean

TOOL = "supervisord"
_TRUE = frozenset({"yes", "true", "on", "1"})
_FALSE = frozenset({"no", "false", "off", "0"})
HERE = "\0"
"""Stands around the directory of a file, where it has `%(here)s`: it is written as it is needed there, absolute or relative."""

_EXPANSION = re.compile(r"%(?:%|\(([A-Za-z_][A-Za-z0-9_]*)\)([ #+-]*[0-9]{0,3})([sdi]))")
_HERE = re.compile(f"{HERE}([^{HERE}]*){HERE}")
_NOWHERE = Span("", 0, 0)


class Options:
    """The options of one section, each taken once; without a section, of none."""

    def __init__(self, section: Section | None, notes: Notes) -> None:
        self.section = section
        self.notes = notes
        self._taken: dict[str, None] = {}

    @property
    def header(self) -> Span:
        """The line of the section's header."""
        return self.section.span if self.section else _NOWHERE

    def name(self, option: str) -> str:
        return f"[{self.section.name}] {option}" if self.section else option

    def span(self, option: str) -> Span:
        found = self.section.options.get(option) if self.section else None
        return found.span if found else self.header

    def text(self, option: str) -> str | None:
        """Take an option; None where it is missing or empty."""
        text = self.marked(option)
        return text and text.replace(HERE, "")

    def marked(self, option: str) -> str | None:
        """Take an option as `text` does, with `%(here)s` marked."""
        self._taken[option] = None
        found = self.section.options.get(option) if self.section else None
        return found.value.strip() or None if found else None

    def integer(self, option: str) -> int | None:
        text = self.text(option)
        if text is None:
            return None
        if re.fullmatch(r"[-+]?[0-9]{1,9}", text):
            return int(text)
        self.refuse(option, "expected a whole number")
        return None

    def boolean(self, option: str) -> bool | None:
        text = (self.text(option) or "").lower()
        if text and text not in _TRUE | _FALSE:
            self.refuse(option, "expected true or false")
        return text in _TRUE if text in _TRUE | _FALSE else None

    def inexact(self, option: str, path: KeyPath, text: str) -> None:
        self.notes.inexact(self.span(option), self.name(option), path, text)

    def refuse(self, option: str, text: str) -> None:
        self._taken[option] = None
        if self.section and option in self.section.options:
            self.notes.refuse(self.span(option), self.name(option), text)

    def refuse_all(self, reasons: Mapping[str, str]) -> None:
        for option, reason in reasons.items():
            self.refuse(option, reason)

    def refuse_section(self, text: str) -> None:
        """Note why the whole section is left out."""
        if self.section:
            first = self.header
            ends = [option.span.last_line for option in self.section.options.values() if option.span.file == first.file]
            span = Span(first.file, first.line, max([first.line, *ends]))
            self.notes.refuse(span, f"[{self.section.name}]", text)

    def finish(self) -> None:
        """Note each option that was not taken. Call it once all options that supervisord has were taken: the nearest is named."""
        known = tuple(self._taken)
        for option in self.section.options if self.section else ():
            if option not in known:
                self.refuse(option, f"is no option of {TOOL}{did_you_mean(option, known)}")


class Expansions(Struct, frozen=True):
    """What stands for `%(name)s` in the options of one program."""

    cwd: str
    """The directory in which the program runs, absolute; empty: it is not known."""
    values: Mapping[str, str | int]
    """Names such as `program_name`, and their values."""

    def unknown_names(self, text: str) -> list[str]:
        """Return the names in a string for which nothing stands."""
        names = [match[1] for match in _EXPANSION.finditer(text) if match[1]]
        return [name for name in names if not name.startswith("ENV_") and name not in (*self.values, "here")]

    def convert(self, text: str, *, relative: bool = False) -> str:
        """Return a string as the manifest has it. What is no expansion of supervisord's stays.

        `%(here)s` is an absolute path; with `relative`, one from `cwd`, where that is known.
        """

        def expand(match: re.Match[str]) -> str:
            name, flags, kind = match.groups()
            if name is None:
                return "%"
            if name.startswith("ENV_"):
                return f"${{{name[4:]}}}"
            value = self.values.get(name)
            if value is None:
                return match[0]
            return value if isinstance(value, str) else f"%{flags}{kind}" % value

        parts: list[str] = []
        at = 0
        for match in _EXPANSION.finditer(text):
            parts += [literal(text[at : match.start()]), expand(match)]
            at = match.end()
        whole = "".join([*parts, literal(text[at:])])
        return _HERE.sub(
            lambda match: os.path.relpath(match[1], self.cwd) if relative and self.cwd else match[1], whole
        )


def with_here(text: str, directory: str) -> str:
    """Return the text of a file with its directory marked where it has `%(here)s`."""
    return text.replace(HERE, "").replace("%(here)s", f"{HERE}{directory}{HERE}")


def environment(options: Options, expansions: Expansions, path: KeyPath) -> dict[str, str]:
    """Return the option `environment`: `A="1",B='2'`."""
    text = options.marked("environment")
    if text is None:
        return {}
    lexer = shlex.shlex(text, posix=True)
    lexer.wordchars += f"/.+-():%{HERE}"
    found: dict[str, str] = {}
    try:
        tokens = list(lexer)
    except ValueError as error:
        options.refuse("environment", f'expected A="1",B="2" ({str(error).lower()})')
        return {}
    for at in range(0, len(tokens), 4):
        pair = tokens[at : at + 3]
        if len(pair) != 3 or pair[1] != "=" or not re.fullmatch(r"[^=\s]+", pair[0]):
            options.refuse("environment", 'expected A="1",B="2": the rest of it is left out')
            break
        found[pair[0]] = expansions.convert(pair[2])
    return found
