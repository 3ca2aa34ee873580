"""The shapes of `port`, and of `ports`, further ports by name."""

import re
from typing import Any

from msgspec import Struct

from minikube.manifest import json_schema
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.json_schema import Schema
from minikube.manifest.shapes import Choice, Converted, KnownKeys, Number, OneOf, Shape, TableOf, Text
from minikube.manifest.spec import PortSpec
from minikube.model import NAME_PATTERN

PORT_FORM = 'a port from 1 to 65535, "auto", or a range such as "7070-7079"'
PORT_NAME_FORM = "a port's name: a-z, 0-9 and -, 1 to 63 characters"

PORTS_FORM = 'a table of ports by name, such as { http = "auto", debug = 9230 }'
PROTOCOLS = ("tcp", "udp")

_MAPPING = re.compile(
    r"(?:(?:(?:[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?P<published>[0-9]{1,5}):)?(?P<inside>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?"
)


def _parse_ports(text: str, key: KeyPath) -> tuple[int, int] | None:
    if text == "auto":
        return 0, 0
    first, dash, last = text.partition("-")
    numbers = [int(word) for word in (first, last if dash else first) if re.fullmatch(r"[0-9]{1,5}", word)]
    if len(numbers) == 2 and 1 <= numbers[0] <= numbers[1] <= 65535:
        return numbers[0], numbers[1]
    return key.wrong(PORT_FORM, text)


PORT: Shape[tuple[int, int]] = OneOf(
    {
        int: Converted(Number(int, 1, 65535), lambda port, _: (port, port)),
        str: Converted(Text(PORT_FORM, r"^(auto|[0-9]{1,5}(-[0-9]{1,5})?)$"), _parse_ports),
    },
    PORT_FORM,
)
"""The first and the last port; (0, 0) for `"auto"`."""


def port_fields(bounds: tuple[int, int]) -> dict[str, Any]:
    """Return the fields `port` and `port_range` of a spec, for the first and the last port as `PORT` reads them."""
    fixed = bounds[0] == bounds[1]
    return {"port": bounds[0] if fixed else 0, "port_range": (0, 0) if fixed else bounds}


def _port_table(keys: dict[str, Any], _: KeyPath) -> PortSpec:
    fields = {name: value for name, value in keys.items() if name != "port"}
    return PortSpec(**port_fields(keys.get("port", (0, 0))), **fields)


class _Ports(Struct, frozen=True):
    """A table of ports by name. A list, as Compose has it, is refused with what to write in its place."""

    table: Shape[dict[str, PortSpec]]

    def read(self, value: object, key: KeyPath) -> dict[str, PortSpec] | None:
        if isinstance(value, list):
            return key.wrong(PORTS_FORM, value, _meant_by_list(value))
        return self.table.read(value, key)

    def schema(self) -> Schema:
        return json_schema.by_type({"object": self.table.schema()}, json_schema.message(PORTS_FORM))


def _meant_by_list(items: list[object]) -> str:
    """Return what to write for a list of ports as Compose has it, such as `"127.0.0.1:8080:80/udp"`; empty for another one."""
    matches = [_MAPPING.fullmatch(str(item)) for item in items if isinstance(item, str | int)]
    found = [match.groupdict() for match in matches if match is not None]
    if not found or len(found) != len(items):
        return ""
    if len(found) == 1 and found[0]["protocol"] != "udp":
        inner = f" and container_port = {found[0]['inside']}" if found[0]["published"] else ""
        return f" (did you mean port = {found[0]['published'] or found[0]['inside']}{inner}?)"
    tables = [f"p{port['published'] or port['inside']} = {_table_text(port)}" for port in found]
    return f" (did you mean {{ {', '.join(tables)} }}?)"


def _table_text(port: dict[str, str | None]) -> str:
    parts = [f"port = {port['published'] or port['inside']}"]
    if port["published"]:
        parts.append(f"container_port = {port['inside']}")
    if port["protocol"] == "udp":
        parts.append('protocol = "udp"')
    return f"{{ {', '.join(parts)} }}" if len(parts) > 1 else parts[0].removeprefix("port = ")


_PORTS: Shape[dict[str, PortSpec]] = TableOf(
    OneOf(
        {
            **dict.fromkeys((int, str), Converted(PORT, lambda bounds, _: PortSpec(**port_fields(bounds)))),
            dict: Converted(
                KnownKeys({"port": PORT, "container_port": Number(int, 1, 65535), "protocol": Choice(PROTOCOLS)}),
                _port_table,
            ),
        },
        f"{PORT_FORM}, or a table with port, container_port and protocol",
    ),
    "ports by name",
    NAME_PATTERN,
    PORT_NAME_FORM,
)
PORTS: Shape[dict[str, PortSpec]] = _Ports(_PORTS)
