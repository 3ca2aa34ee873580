"""`${VAR}` in strings: one rule for every string of a manifest, whether a shell runs it or not.

    ${VAR}            its value; empty with a warning where it is not set
    ${VAR:-default}   `default` where VAR is not set or empty; it may contain ${…}
    ${VAR-default}    `default` where VAR is not set
    ${VAR:?message}   an error with `message` where VAR is not set or empty
    $$                a dollar

Everything else stays as it is written: `$VAR`, `$(date)`, `${VAR%.*}`. Quotes change nothing. This is no shell: it splits no
words and runs no commands.

Strings of an instance (`command`, `env`, …) are templates after loading: every dollar is doubled, apart from references to
INSTANCE_VARIABLES, whose values are known at the instance's start. `fill_instance_variables` makes the text of a template.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal

INSTANCE_VARIABLES = (
    *("PORT", "HOST", "SERVICE_NAME", "INSTANCE_ID", "REPLICA"),
    *("MINIKUBE_REGISTRY", "MINIKUBE_REDIS_URL", "MINIKUBE_PYTHON", "REDIS_URL"),
)
"""Variables that are known when an instance starts. In strings of an instance they are left in place until then."""

PORT_VARIABLE_PREFIX = "PORT_"

MAX_DEPTH = 20
"""How deep defaults may be nested."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-|-|:\?)(.*))?\}", re.DOTALL)

_TOKEN = re.compile(r"\$\$|\$\{|\}")

UseKind = Literal["value", "default", "unset", "kept", "instance"]
"""What stands in place of a variable: its value, its default, nothing; the reference, for a shell; or what an instance is given."""

Note = Callable[[str, UseKind], object]
Piece = tuple[str, bool]
"""A part of a result, and whether it is a reference that stays in place."""


def interpolate(
    text: str,
    variables: Mapping[str, str],
    *,
    later: bool = False,
    ports: Collection[str] = (),
    keep_unset: bool = False,
    note: Note = lambda name, kind: None,
) -> str:
    """Return `text` with its variables replaced. Raises ValueError; `note` is called with each variable that is used.

    With `later`, the result is a template for `fill_instance_variables`; `ports` are the variables of the service's named
    ports (`PORT_HTTP`), which are known then, too. With `keep_unset`, references to variables that are not set stay as they
    are written: a shell is to look them up.
    """
    if "$" not in text:
        return text
    kept_names = {*INSTANCE_VARIABLES, *ports} if later else ()
    pieces = _Expansion(variables, kept_names, keep_unset, note).expand(text, 0)
    return "".join(piece if kept or not later else piece.replace("$", "$$") for piece, kept in pieces)


def port_variable(name: str) -> str:
    """Return the variable of a port in `ports`: `PORT_HTTP_ADMIN` for `http-admin`."""
    return PORT_VARIABLE_PREFIX + name.upper().replace("-", "_")


def fill_instance_variables(template: str, variables: Mapping[str, str]) -> str:
    """Return the text of a template, with the INSTANCE_VARIABLES in it replaced by values of `variables`. Raises ValueError."""
    return interpolate(template, variables)


def template_text(template: str) -> str:
    """Return a template as text to show: dollars are single, INSTANCE_VARIABLES stay in place."""
    return template.replace("$$", "$")


def escape_dollars(text: str) -> str:
    """Return `text` with dollars doubled, so that `interpolate` of the result returns `text`."""
    return text.replace("$", "$$")


class _Expansion:
    """One expansion of a string. `later` are the names that stay in place; `interpolate` describes the other arguments."""

    def __init__(self, variables: Mapping[str, str], later: Collection[str], keep_unset: bool, note: Note) -> None:
        self.variables = variables
        self.later = later
        self.keep_unset = keep_unset
        self.note = note

    def expand(self, text: str, depth: int) -> list[Piece]:
        """Return the result in pieces. `depth` is how many defaults the text is nested in."""
        if depth > MAX_DEPTH:
            raise ValueError(f"expected at most {MAX_DEPTH} nested ${{…}}")
        pieces: list[Piece] = []
        closings = find_closings(text)
        at = 0
        while (dollar := text.find("$", at)) >= 0:
            pieces.append((text[at:dollar], False))
            if text.startswith("$$", dollar):
                pieces.append(("$", False))
                at = dollar + 2
            elif match := _REFERENCE.fullmatch(text, dollar, closings.get(dollar, dollar)):
                pieces += self._reference(match, depth)
                at = match.end()
            else:
                at = closings.get(dollar, dollar + 1)
                pieces.append((text[dollar:at], False))
        pieces.append((text[at:], False))
        return pieces

    def _reference(self, match: re.Match[str], depth: int) -> list[Piece]:
        written, name, operator, rest = match[0], match[1], match[2], match[3] or ""
        if name in self.later:
            self.note(name, "instance")
            return [(self._later_reference(name, operator, rest, depth) if operator else written, True)]
        value = self.variables.get(name)
        if value is None and self.keep_unset:
            self.note(name, "kept")
            return [(written, False)]
        if value is None or (not value and operator in (":-", ":?")):
            if operator == ":?":
                raise ValueError(f"{name} is not set: {rest or 'it is required'}")
            if operator:
                self.note(name, "default")
                return self.expand(rest, depth + 1)
        self.note(name, "unset" if value is None else "value")
        return [(value or "", False)]

    def _later_reference(self, name: str, operator: str, rest: str, depth: int) -> str:
        """Return a reference that stays in place, with the other variables of its default replaced."""
        if operator != ":?":
            rest = "".join(piece if kept else piece.replace("$", "$$") for piece, kept in self.expand(rest, depth + 1))
        return f"${{{name}{operator}{rest}}}"


def find_closings(text: str) -> dict[int, int]:
    """Return, by the index of each `${` that is closed, the index after its closing brace."""
    # One pass for all of them: a search for each would take minutes for a text of many open ones.
    found: dict[int, int] = {}
    opened: list[int] = []
    for token in _TOKEN.finditer(text):
        if token[0] == "${":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            found[opened.pop()] = token.end()
    return found
