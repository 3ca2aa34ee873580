"""`${VAR}` of Compose in the manifest's forms. Pure.

    $VAR               ${VAR}
    ${VAR?message}     ${VAR:?message}, which is an error for an empty value, too
    ${VAR:+text}       refused: the manifest has no such form
    $$, ${VAR}, ${VAR:-text}, ${VAR-text}, ${VAR:?message}    unchanged

A variable that the manifest keeps for itself, such as PORT or REDIS_URL, is replaced by its default, with a note.
"""

import re
from collections.abc import Collection

from msgspec import Struct

from minikube.manifest.variables.interpolate import INSTANCE_VARIABLES, MAX_DEPTH, find_closings

_START = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(:?[-?+])?)")


class Rewritten(Struct, frozen=True):
    """A string of the manifest."""

    text: str
    notes: tuple[str, ...] = ()
    """Differences, each as one sentence."""
    problem: str = ""
    """Why the string cannot be taken; empty: it can."""


def rewrite(text: str, *, later: bool, own: Collection[str] = ()) -> Rewritten:
    """Return a string of Compose as the manifest has it.

    `later`: the manifest fills in the variables of an instance, such as PORT, when it starts. `own` are other variables of
    `.env` that the manifest does not read.
    """
    if "$" not in text:
        return Rewritten(text)
    rewriting = _Rewriting({*INSTANCE_VARIABLES, *own} if later else {*own})
    try:
        return Rewritten(rewriting.convert(text, 0), tuple(dict.fromkeys(rewriting.notes)))
    except ValueError as error:
        return Rewritten(text, (), str(error))


def split_outside(text: str, separator: str) -> list[str]:
    """Split a text at a character, but not within `${…}` or `[…]`."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if text.startswith("${", at) or character == "[":
            depth += 1
        elif character in "}]" and depth:
            depth -= 1
        elif character == separator and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


class _Rewriting:
    """The rewriting of one string: notes so far, and the variables that mean something else in a manifest."""

    def __init__(self, own: Collection[str]) -> None:
        self.own = own
        self.notes: list[str] = []

    def convert(self, text: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} nested variables")
        parts: list[str] = []
        closings = find_closings(text)
        at = 0
        while match := _START.search(text, at):
            parts.append(text[at : match.start()])
            escaped, bare, braced, operator = match.groups()
            at = match.end()
            if escaped:
                parts.append("$$")
                continue
            rest = ""
            if braced:
                end = closings.get(match.start(), 0) - 1
                if end < 0 or (not operator and end != at):
                    parts.append(match[0])  # no variable: text, as in a manifest
                    continue
                rest, at = text[at:end], end + 1
            parts.append(self.reference(bare or braced, operator or "", rest, depth))
        return "".join([*parts, text[at:]])

    def reference(self, name: str, operator: str, rest: str, depth: int) -> str:
        if operator.endswith("+"):
            raise ValueError(
                f"${{{name}{operator}…}} has no counterpart — write the value, or let .env hold a variable with it"
            )
        if name in self.own:
            if operator.endswith("-"):
                self.notes.append(
                    f"the default of {name} is written, as a manifest has a meaning of its own for {name}"
                )
                return self.convert(rest, depth + 1)
            self.notes.append(
                f"{name} has a meaning of its own in a manifest — rename the variable, or write its value"
            )
            return f"${{{name}}}"
        if not operator:
            return f"${{{name}}}"
        if operator == "?":
            self.notes.append(f"{name} must not be empty here, either")
        converted = self.convert(rest, depth + 1) if operator.endswith("-") else rest
        return f"${{{name}{':?' if operator == '?' else operator}{converted}}}"
