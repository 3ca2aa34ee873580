"""The shapes of `port`, and of `ports`, further ports by name."""

import re
from typing import Any

from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.shapes import Choice, Converted, KnownKeys, Number, OneOf, Shape, TableOf, Text
from minikube.manifest.spec import PortSpec
from minikube.model import NAME_PATTERN

PORT_FORM = 'a port from 1 to 65535, "auto", or a range such as "7070-7079"'
PORT_NAME_FORM = "a port's name: a-z, 0-9 and -, 1 to 63 characters"

PROTOCOLS = ("tcp", "udp")


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


PORTS: Shape[dict[str, PortSpec]] = TableOf(
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
