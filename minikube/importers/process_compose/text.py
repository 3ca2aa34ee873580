"""Strings of process-compose as strings of the manifest: variables, dollars, and templates of plain variables. Pure.

process-compose fills in `${VAR}` and `$VAR` when it loads the file, from `.env` and the environment, and makes one dollar of two;
what is left, a shell sees. The manifest has the same forms, but for `$VAR` and for functions such as `${VAR^^}`.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from minikube.importers.manifest_text import literal

REPLICA_VARIABLE = "PC_REPLICA_NUM"

_DOLLAR = re.compile(
    r"\$\$(?P<escaped>[A-Za-z_])?|\$(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:-|:=|-|=)?(?P<rest>[^{}]*)\}"
)
_TEMPLATE = re.compile(r"\{\{(?:(?!\{\{).)*?\}\}", re.DOTALL)
_PLAIN_TEMPLATE = re.compile(r"\{\{-?\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}")


class TemplateError(Exception):
    """A template that is more than a variable with a plain value."""


class Texts(Struct, frozen=True):
    """How the strings of one process are read."""

    expands: bool
    """Whether process-compose fills in variables; false with `disable_env_expansion`."""
    variables: Mapping[str, str]
    """The `vars` for templates, with their values as text."""

    def convert(self, text: str, *, for_shell: bool = False, templates: bool = True, counted: bool = False) -> str:
        """Return a string of the source as the manifest has it. Raises TemplateError.

        With `for_shell`, a function such as `${VAR^^}` is left to the shell; with `counted`, PC_REPLICA_NUM too, which the line
        itself sets. Elsewhere a number takes its place.
        """
        text = _TEMPLATE.sub(self._template, text) if templates else text
        if not self.expands:
            return literal(text)

        def written(match: re.Match[str]) -> str:
            if (match["bare"] or match["name"]) != REPLICA_VARIABLE:
                return _dollar(match, for_shell=for_shell)
            if counted:
                return literal(match[0])
            number = self.variables.get(REPLICA_VARIABLE, "0")
            return number if number == "0" or not for_shell else f"$(({number} - 1))"

        return _DOLLAR.sub(written, text)

    def _template(self, match: re.Match[str]) -> str:
        plain = _PLAIN_TEMPLATE.fullmatch(match[0])
        if plain is None or plain[1] not in self.variables:
            raise TemplateError(match[0])
        return self.variables[plain[1]]


def has_function(text: str) -> bool:
    """Return whether a converted text still has a function such as `${VAR^^}`, which minikube does not have."""
    return re.search(r"(?<!\$)(?:\$\$)*\$\{[A-Za-z_][A-Za-z0-9_]*(?!:-|-|[A-Za-z0-9_}])", text) is not None


def _dollar(match: re.Match[str], *, for_shell: bool) -> str:
    if match["bare"]:
        return f"${{{match['bare']}}}"
    if match["name"]:
        name, operator, rest = match["name"], match["operator"], match["rest"]
        if operator or not rest:
            return f"${{{name}{':-' if operator else ''}{rest}}}"
        return f"$${{{name}{rest}}}" if for_shell else match[0]
    return f"${match['escaped']}" if match["escaped"] else "$$"
