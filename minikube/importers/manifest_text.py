"""Strings in the manifest's form: text without variables, and variables to which the manifest gives a meaning of its own. Pure."""

import re
from typing import Any

from minikube.importers.result import Notes, Span
from minikube.manifest.variables.shared import LISTEN_VARIABLES


def literal(text: str) -> str:
    """Return a text so that the manifest means it as it is: `${X}` stays. A dollar alone needs no second one."""
    return text.replace("$$", "$$$$").replace("${", "$${")


def port_number(text: str) -> int:
    """Return the port that a text is; 0 where it is none."""
    number = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    return number if number < 65536 else 0


def give_port(service: dict[str, Any], notes: Notes, span: Span, source: str, name: str) -> None:
    """Give a port to a service whose strings have `${PORT}` or `${HOST}`, and note what they mean."""
    said = str({key: value for key, value in service.items() if key != "depends_on"})
    used = [name for name in LISTEN_VARIABLES if re.search(rf"(?<!\$)\$\{{{name}(?![A-Za-z0-9_])", said)]
    if used:
        service.setdefault("port", "auto")
        text = f"{' and '.join(used)} say where the instance listens: they come from port and host, not from the environment"
        notes.inexact(span, source, ("services", name, "port"), text)
