"""The INI files of supervisord, with the lines of each option: what Python's configparser reads, as supervisord sets it up. Pure.

A section that stands again goes on; an option that stands again replaces the first one. Lines that are indented more than their
option continue its value. `;` and `#` begin a comment at the start of a line or after a space.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from minikube.importers.result import Span
from minikube.importers.source import source_error

_HEADER = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^=:]*)[=:](.*)", re.DOTALL)
_COMMENT = re.compile(r"(?:^|(?<=\s))[;#].*")


class Option(Struct, frozen=True):
    """One option: its value without comments, and its lines."""

    value: str
    span: Span


class Section(Struct, frozen=True):
    """One section: the line of its header, and its options by name, in lower case."""

    name: str
    span: Span
    options: Mapping[str, Option]


def parse_ini(text: str, file: str) -> dict[str, Section]:
    """Return the sections by name. Raises UsageError for a line that is neither a header nor an option."""
    sections: dict[str, Section] = {}
    options: dict[str, Option] | None = None
    name, indent = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        said = _COMMENT.sub("", line).rstrip()
        if not said.strip():
            continue
        here = len(said) - len(said.lstrip())
        said = said.strip()
        if name and options is not None and here > indent:
            before = options[name]
            options[name] = Option(f"{before.value}\n{said}", Span(file, before.span.line, number))
            continue
        indent = here
        if header := _HEADER.match(said):
            section = sections.setdefault(header[1], Section(header[1], Span(file, number, number), {}))
            assert isinstance(section.options, dict)
            options, name = section.options, ""
            continue
        option = _OPTION.fullmatch(said)
        if option is None or not option[1].strip():
            raise source_error(file, "expected a [section], or an option such as command=sleep 60", number, here + 1)
        if options is None:
            raise source_error(file, "expected a [section] before the first option", number, here + 1)
        name = option[1].strip().lower()
        options[name] = Option(option[2].strip(), Span(file, number, number))
    return sections


def merge_sections(base: Mapping[str, Section], over: Mapping[str, Section]) -> dict[str, Section]:
    """Return the sections of two files as one; the options of `over` win."""
    merged = dict(base)
    for name, section in over.items():
        before = base.get(name)
        merged[name] = Section(name, before.span, {**before.options, **section.options}) if before else section
    return merged
