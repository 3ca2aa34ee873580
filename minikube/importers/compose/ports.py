"""Published ports: `ports`, and `expose`.

The first TCP port of a service becomes `port`, which is registered and checked; the others become `ports`.
"""

import re

from msgspec import Struct
from msgspec.structs import replace

from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.compose.variables import split_outside
from minikube.importers.result import Span
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table

MOST_OF_A_RANGE = 32
_HOST = re.compile(r"[A-Za-z0-9._:%-]*")
LOOPBACK = "127.0.0.1"
ON_LOOPBACK = 'is published on 127.0.0.1, not on all addresses — host = "0.0.0.0" opens it'


class PortMapping(Struct, frozen=True):
    """One published port."""

    span: Span
    target: str
    """The port in the container: digits, or a text with a variable."""
    published: str = ""
    """Digits, a range, or a text with a variable; empty: a free one."""
    host: str = ""
    """The address of this machine; empty: all."""
    protocol: str = "tcp"
    name: str = ""


def read_ports(draft: ServiceDraft, entry: Entry) -> None:
    """Read `ports`."""
    items = entry.value.items if isinstance(entry.value, Items) else (entry.value,)
    mappings: list[PortMapping] = []
    for item in items:
        if isinstance(item, Table):
            found = _long_form(draft, item)
        else:
            text = draft.text(item, "ports", "port")
            found = None if text is None else parse_port(text, item.span)
        if found is None:
            if isinstance(item, Scalar) and item.value is not None:
                draft.refuse(item.span, "ports", "expected a port such as 8080:80, 127.0.0.1:8080:80 or 53:53/udp")
            continue
        expanded = _expanded(found)
        if not expanded:
            draft.refuse(
                item.span,
                "ports",
                f"a range of more than {MOST_OF_A_RANGE} ports, or of two lengths — name ports in ports",
            )
        mappings += expanded
    if _uses_host_network(draft):
        _write_host_ports(draft, entry, mappings)
    else:
        _write_ports(draft, mappings)


def parse_port(text: str, span: Span) -> PortMapping | None:
    """Return the port of the short form; None where it is none."""
    text, _, protocol = text.partition("/") if "${" not in text.rpartition("/")[2] else (text, "", "tcp")
    parts = split_outside(text, ":")
    if len(parts) > 3 and "[" not in text:  # an IPv6 address without brackets
        parts = [":".join(parts[:-2]), *parts[-2:]]
    target, published, host = [*reversed(parts), "", ""][:3]
    published, host = "" if published == "0" else published, host.strip("[]")
    valid = len(parts) <= 3 and _is_ports(target) and (not published or _is_ports(published))
    if not valid or protocol not in ("", "tcp", "udp") or not ("${" in host or _HOST.fullmatch(host)):
        return None
    return PortMapping(span, target, published, host, protocol or "tcp")


def _is_ports(text: str) -> bool:
    """Return whether a text is a port, a range of ports, or has a variable."""
    if "${" in text:
        return True
    first, dash, last = text.partition("-")
    numbers = [int(word) for word in (first, last if dash else first) if re.fullmatch(r"[0-9]{1,5}", word)]
    return len(numbers) == 2 and 1 <= numbers[0] <= numbers[1] <= 65535


def _long_form(draft: ServiceDraft, table: Table) -> PortMapping | None:
    texts: dict[str, str] = {}
    for key, entry in table.entries.items():
        if key in ("target", "published", "host_ip", "protocol", "name"):
            if (text := draft.text(entry.value, f"ports.{key}", "port")) is None:
                return None
            texts[key] = text
        elif key == "mode":
            pass  # host or ingress: Compose itself makes no difference
        elif key not in ("app_protocol",) and not key.startswith("x-"):
            draft.refuse(entry.span, f"ports.{key}", "has no counterpart in a manifest")
    host = texts.get("host_ip", "")
    text = f"{texts.get('published', '')}:{texts.get('target', '')}/{texts.get('protocol', 'tcp')}"
    found = parse_port(text, table.span) if "${" in host or _HOST.fullmatch(host) else None
    if found is None:
        draft.refuse(table.span, "ports", "expected target, a port, and published, a port or range")
        return None
    return replace(found, host=host, name=texts.get("name", ""))


def _bounds(text: str) -> tuple[int, int] | None:
    """Return the first and the last port of a range; None for one port or a variable."""
    first, dash, last = text.partition("-")
    return (int(first), int(last)) if dash and "${" not in text else None


def _expanded(mapping: PortMapping) -> list[PortMapping]:
    """Return a mapping for each port of a range in the container. A published range for one port stays: any of them is free."""
    target = _bounds(mapping.target)
    if target is None:
        return [mapping]
    published = _bounds(mapping.published)
    count = target[1] - target[0] + 1
    if count > MOST_OF_A_RANGE or (
        mapping.published and (published is None or published[1] - published[0] + 1 != count)
    ):
        return []
    return [
        replace(mapping, target=str(target[0] + index), published=str(published[0] + index) if published else "")
        for index in range(count)
    ]


def _uses_host_network(draft: ServiceDraft) -> bool:
    mode = draft.table.get("network_mode")
    return isinstance(mode, Scalar) and mode.text == "host"


def _write_host_ports(draft: ServiceDraft, entry: Entry, mappings: list[PortMapping]) -> None:
    """Write the first port of a service on the host's network: its program listens there itself, and Compose publishes none."""
    if draft.out.get("replicas", 1) != 1:
        draft.refuse(
            entry.span, "ports", "on the host's network nothing is published, and replicas cannot share a port"
        )
        return
    first = next((mapping for mapping in mappings if mapping.protocol == "tcp"), None)
    if first is not None:
        draft.out["port"] = _number(first.target)
    draft.inexact(entry.span, "ports", "on the host's network the program listens on its port itself", "port")


def _write_ports(draft: ServiceDraft, mappings: list[PortMapping]) -> None:
    first = next((mapping for mapping in mappings if mapping.protocol == "tcp"), None)
    if first is not None:
        own, inside = _published(draft, first, "port"), _number(first.target)
        draft.out["port"] = own
        if not _is_same(own, inside):
            draft.out["container_port"] = inside
        if first.host and first.host != LOOPBACK:
            draft.out["host"] = first.host
    ports: dict[str, object] = {}
    for mapping in mappings:
        if not mapping.host and mapping is first:
            draft.inexact(mapping.span, "ports", ON_LOOPBACK, "port")
        if mapping is first:
            continue
        name = _port_name(mapping, ports)
        if not mapping.host:
            draft.inexact(mapping.span, "ports", ON_LOOPBACK, "ports", name)
        published, inside = _published(draft, mapping, "ports", name), _number(mapping.target)
        port: dict[str, object] = {"port": published}
        if not _is_same(published, inside):
            port["container_port"] = inside
        if mapping.protocol != "tcp":
            port["protocol"] = mapping.protocol
        ports[name] = published if len(port) == 1 else port
        if first is not None and mapping.host and mapping.host != (first.host or LOOPBACK):
            text = "all ports of a service are published on one address, its host"
            draft.inexact(mapping.span, "ports", text, "ports", name)
        elif first is None and mapping.host and mapping.host != LOOPBACK:
            draft.out["host"] = mapping.host
    if ports:
        draft.out["ports"] = ports


def _published(draft: ServiceDraft, mapping: PortMapping, *path: str) -> int | str:
    """Return the port of this machine. One number for several replicas becomes any free one."""
    text = mapping.published
    if not text:
        return "auto"
    replicas = draft.out.get("replicas", 1)
    bounds = _bounds(text) or ((int(text), int(text)) if text.isdigit() else None)
    several = not isinstance(replicas, int) or replicas > 1
    if several and (bounds is None or isinstance(replicas, str) or bounds[1] - bounds[0] + 1 < replicas):
        note = "replicas cannot share a port of this machine: each gets a free one"
        draft.inexact(mapping.span, "ports", note, *path)
        return "auto"
    return _number(text)


def _is_same(published: int | str, inside: int | str) -> bool:
    """Return whether a port is the one in the container, too, as it is without `container_port`."""
    return isinstance(published, int) and published == inside


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _port_name(mapping: PortMapping, taken: dict[str, object]) -> str:
    """Return the name of a further port: its own, or `tcp-9000`."""
    name = mapping.name.lower() if mapping.name.isascii() else ""
    name = "-".join(part for part in "".join(c if c.isalnum() else "-" for c in name).split("-") if part)[:40]
    name = name or f"{mapping.protocol}-{mapping.target if mapping.target.isdigit() else 'port'}"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique


def read_expose(draft: ServiceDraft, entry: Entry) -> None:
    """Read `expose`, which only says what is so without it: containers reach all ports of each other."""
    node: Node = entry.value
    if not isinstance(node, (Items, Scalar)):
        draft.refuse(entry.span, "expose", f"expected a list of ports, got {node.kind}")
