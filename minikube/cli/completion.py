"""Shell completion of names: of the running project, else of the manifest, within a tenth of a second.

It asks the control API over a bare socket and reads the manifest as plain TOML: to import the client, msgspec and the
manifest's checks would take longer than a key press may. It refuses to fail: after any error it offers fewer names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minikube.cli.common import manifest_files

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ANSWER_TIMEOUT_S = 0.1
"""For the supervisor's whole reply: a supervisor that hangs must not block the prompt."""

ANSWER_LIMIT = 16 * 1024 * 1024
SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT")
CACHE_KEY = "minikube.rows"


def complete_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions: the names of services, instances and groups that begin with `incomplete`."""
    names = [*_column(context, "services", "name"), *_column(context, "instances", "name"), *_groups(context)]
    return _items(names, incomplete)


def complete_single_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions: the names of services and instances that begin with `incomplete`, where no group can stand."""
    return _items([*_column(context, "services", "name"), *_column(context, "instances", "name")], incomplete)


def complete_services(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions: the names of services and groups that begin with `incomplete`."""
    return _items([*_column(context, "services", "name"), *_groups(context)], incomplete)


def complete_groups(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions: the names of groups, without @, that begin with `incomplete`."""
    groups = [name.removeprefix("@") for name in _groups(context) if not name.startswith("@tag:")]
    return _items(groups, incomplete)


def complete_ids(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions: the ids of instances that begin with `incomplete`."""
    return _items(_column(context, "instances", "id"), incomplete)


def complete_signals(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return completions: the names of signals that begin with `incomplete`."""
    return _items(SIGNALS, incomplete.upper())


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return completions for the names that begin with `incomplete`; names with control characters are left out."""
    from click.shell_completion import CompletionItem

    matching = (name for name in dict.fromkeys(names) if name.startswith(incomplete) and name.isprintable())
    return [CompletionItem(name) for name in matching]


def _column(context: click.Context, table: str, column: str) -> list[str]:
    """Return the values of one column in a table that `read_tables` returns."""
    return [str(row[column]) for row in _tables(context).get(table, ())]


def _groups(context: click.Context) -> list[str]:
    """Return the names that stand for several services: `@backend`, `@tag:setup`."""
    rows = _tables(context).get("services", ())
    found: list[str] = []
    for key, mark in (("groups", "@"), ("tags", "@tag:")):
        for row in rows:
            values = row.get(key)
            # As plain TOML has it, perhaps of another type.
            if isinstance(values, list) and row.get("kind") != "external":
                found += [f"{mark}{value}" for value in values if isinstance(value, str)]
    return found


def _tables(context: click.Context) -> dict[str, Any]:
    # Kept on the context: one key press makes one request.
    if CACHE_KEY not in context.meta:
        context.meta[CACHE_KEY] = read_tables(context.params.get("manifest") or ())
    tables: dict[str, Any] = context.meta[CACHE_KEY]
    return tables


def read_tables(manifest: tuple[str, ...]) -> dict[str, Any]:
    """Return tables of services and instances: the running project's status, else the services of the manifest.

    Empty after any error, because a completion must not print one.
    """
    try:
        files = manifest_files(manifest, ANSWER_TIMEOUT_S)
        try:
            return _running_status(files.first)
        except Exception:
            import tomllib

            services: dict[str, dict[str, Any]] = {}
            for path in files.existing():
                with path.open("rb") as file:
                    for name, keys in tomllib.load(file).get("services", {}).items():
                        found = {key: keys[key] for key in ("groups", "tags") if isinstance(keys, dict) and key in keys}
                        services[name] = {**services.get(name, {"name": name}), **found}
            return {"services": list(services.values())}
    except Exception:
        return {}


def _running_status(path: Path) -> dict[str, Any]:
    """Return the supervisor's reply to `GET /v1/status` as parsed JSON. Raises the errors of HTTP and JSON unchanged."""
    import json
    import socket

    from minikube.control.client.endpoint import find_supervisor

    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    endpoint = find_supervisor(path, ANSWER_TIMEOUT_S)
    request = f"GET /v1/status HTTP/1.1\r\nHost: {endpoint.netloc}\r\nAuthorization: Bearer {endpoint.token}\r\n"
    with socket.create_connection((endpoint.host, endpoint.port), ANSWER_TIMEOUT_S) as sock:
        sock.sendall(f"{request}Connection: close\r\n\r\n".encode())
        answer = bytearray()
        while len(answer) < ANSWER_LIMIT:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (data := sock.recv(262_144)):
                break
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        raise OSError("the supervisor refused the request")
    status: dict[str, Any] = json.loads(body)
    return status
