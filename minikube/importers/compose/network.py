"""Networks and host names. All services are on the project's one network, and find each other by name there."""

import re
from collections.abc import Mapping

from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.result import Notes, Span
from minikube.importers.yaml_nodes import Entry, Scalar, Table, is_nothing
from minikube.manifest.keys.containers import parse_host_address

_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")

ONE_NETWORK = "all services are on the project's one network — what must be apart needs a project of its own"


def read_networks(draft: ServiceDraft, entry: Entry) -> None:
    """Read `networks`, a table after `normalize_service`. Aliases stay."""
    for name, item in draft.entries(entry, "networks").items():
        settings = draft.entries(item, f"networks.{name}")
        for alias in (
            draft.texts(settings["aliases"].value, f"networks.{name}.aliases") or () if "aliases" in settings else ()
        ):
            add_alias(draft, settings["aliases"].span, f"networks.{name}.aliases", alias)
        reasons = {
            "ipv4_address": "addresses are given by the engine — use the service's name",
            "ipv6_address": "addresses are given by the engine — use the service's name",
        }
        draft.refuse_unknown(settings, f"networks.{name}", ("aliases",), reasons)
    if not draft.names.one_network:
        draft.refuse(entry.span, "networks", ONE_NETWORK)


def add_alias(draft: ServiceDraft, span: Span, key: str, alias: str, note: str = "") -> None:
    """Give a service a further host name on the project's network."""
    if alias == draft.name:
        return
    if _HOST_NAME.fullmatch(alias) or "${" in alias:
        draft.add_engine_args(span, key, f"--network-alias={alias}", note=note)
    else:
        draft.refuse(span, key, "expected a host name")


def read_network_mode(draft: ServiceDraft, entry: Entry) -> None:
    """Read `network_mode`."""
    text = draft.text(entry.value, "network_mode", "network") or ""
    if text == "host":
        draft.out["network"] = "host"
    elif text == "bridge":
        draft.inexact(entry.span, "network_mode", "is on the project's network, where services find each other by name")
    elif text == "none":
        draft.refuse(entry.span, "network_mode", "every container has the project's network")
    elif text.startswith(("service:", "container:")):
        needed = draft.names.services.get(text.removeprefix("service:"))
        if needed and needed != draft.name:
            draft.out.setdefault("depends_on", {}).setdefault(needed, "started")
        draft.refuse(
            entry.span,
            "network_mode",
            "containers do not share a network namespace — publish ports here, and reach the other one by its name",
        )
    elif text:
        draft.refuse(entry.span, "network_mode", ONE_NETWORK)


def read_extra_hosts(draft: ServiceDraft, entry: Entry) -> None:
    """Read `extra_hosts`, a table after `normalize_service`."""
    hosts: dict[str, str] = {}
    for name, item in draft.entries(entry, "extra_hosts").items():
        text = draft.text(item.value, f"extra_hosts.{name}", "extra_hosts", name)
        if text is None:
            continue
        try:
            address = text if "${" in text else parse_host_address(text.strip("[]"))
        except ValueError:
            draft.refuse(item.span, f"extra_hosts.{name}", "expected one IP address or host-gateway")
            continue
        if _HOST_NAME.fullmatch(name):
            hosts[name] = address
        else:
            draft.refuse(item.span, "extra_hosts", "expected a host name")
    if hosts:
        draft.out["extra_hosts"] = hosts


def read_container_name(draft: ServiceDraft, entry: Entry) -> None:
    """Read `container_name`: it stays a host name, but the container itself gets its name from project and service."""
    text = draft.text(entry.value, "container_name", "engine_args")
    if not text:
        return
    if text == draft.name:
        note = "the container's name has the project in it — use `minikube exec` in place of `docker exec`"
        draft.inexact(entry.span, "container_name", note)
        return
    note = (
        "stays a host name; the container's name has the project in it — use `minikube exec` in place of `docker exec`"
    )
    add_alias(draft, entry.span, "container_name", text, note)


def read_network_section(entries: Mapping[str, Entry], notes: Notes) -> None:
    """Note what the top-level `networks` say that the project's network does not have."""
    reasons = {
        "external": "an existing network is not joined — let both be in one project, or publish ports",
        "name": "the network's name has the project in it",
        "ipam": "the engine chooses the addresses",
        "internal": "containers reach the outside",
        "driver_opts": "the network has the engine's defaults",
    }
    for name, entry in entries.items():
        if not isinstance(entry.value, Table):
            continue
        for key, item in entry.value.entries.items():
            value = item.value.value if isinstance(item.value, Scalar) else None
            plain = (key == "driver" and value in ("bridge", "default")) or value is False or key.startswith("x-")
            if not plain and not is_nothing(item.value):
                notes.refuse(item.span, f"networks.{name}.{key}", reasons.get(key, "has no counterpart in a manifest"))
