"""Lines for `config --origins`: the place of a value, its key and the value, then its variables."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minikube.manifest.layers.origins import Origin, VariableOrigin
from minikube.text import printable

WIDEST_PLACE = 34
"""Longer places push the rest of their own line to the right, and not those of all."""

SOURCES = {
    "environment": "the environment",
    "default": "its default here",
    "unset": "not set, empty",
    "shell": "left to the shell",
    "instance": "known at the start",
    "minikube": "set by minikube",
}


def origin_lines(origins: Sequence[Origin], width: int = 0) -> Iterator[str]:
    """Yield a line for each value, aligned and cut at `width` columns (0: whole), and lines for its variables below it."""
    places = list(map(_describe_place, origins))
    column = max((len(place) for place in places if len(place) <= WIDEST_PLACE), default=0)
    for origin, place in zip(origins, places, strict=True):
        yield _cut(f"{place:{column}}  {printable(origin.path)} = {toml_text(origin.value)}", width)
        yield from (f"{'':{column}}    ${{{name}}}: {where}" for name, where in _describe_variables(origin.variables))


def _describe_place(origin: Origin) -> str:
    """Return where a value stands, such as `dev.toml:3:8` or `supervisor.toml:2:1 extends base`."""
    if origin.file is None:
        return origin.kind
    place = f"{_short(origin.file)}:{origin.line}:{origin.column}"
    match origin.kind:
        case "defaults":
            return f"{place} defaults"
        case "extends":
            return f"{place} extends {origin.service}"
    return place


def _short(file: str) -> str:
    """Return a path relative to the working directory, where it is below it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _describe_variables(variables: Iterable[VariableOrigin]) -> Iterator[tuple[str, str]]:
    for variable in variables:
        if variable.source == "env_file":
            yield variable.name, f"{_short(variable.file or '')}:{variable.line}:{variable.column}"
        else:
            yield variable.name, SOURCES[variable.source]


def toml_text(value: Any) -> str:
    """Return a value as TOML on one line."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {toml_text(item)}" for key, item in value.items()) + " }"
        case list() | tuple():
            return f"[{', '.join(map(toml_text, value))}]"
        case str():
            return printable(json.dumps(value, ensure_ascii=False))
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _cut(line: str, width: int) -> str:
    return line if not width or len(line) <= width else f"{line[: width - 1]}…"
