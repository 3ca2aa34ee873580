"""What the shell may complete (floor 4): names that are running now, else those of the manifest. Within a tenth of a second.

It speaks to the control API over a bare socket and reads the manifest as plain TOML: the client, msgspec and the manifest's
checks cost more time than a key press has. Never an error: whoever presses TAB gets fewer names.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE_S = 0.1
"""For the supervisor's answer altogether: a stopped one must not hold up a prompt."""

MOST_BYTES = 16 * 1024 * 1024
SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT")


def complete_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Services and instances."""
    return _items([*_rows(context, "services", "name"), *_rows(context, "instances", "name")], incomplete)


def complete_services(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Services only."""
    return _items(_rows(context, "services", "name"), incomplete)


def complete_ids(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of instances."""
    return _items(_rows(context, "instances", "id"), incomplete)


def complete_signals(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _items(SIGNALS, incomplete.upper())


def _items(names: Any, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    shown = (name for name in dict.fromkeys(names) if name.startswith(incomplete) and name.isprintable())
    return [CompletionItem(name) for name in shown]


def _rows(context: click.Context, table: str, column: str) -> list[str]:
    # Kept on the context, so that one key press asks once.
    if "minikube.rows" not in context.meta:
        context.meta["minikube.rows"] = _ask(context.params.get("manifest"))
    return [str(row[column]) for row in context.meta["minikube.rows"].get(table, ())]


def _ask(manifest: str | None) -> dict[str, Any]:
    from minikube.cli.common import manifest_path

    try:
        path = manifest_path(manifest)
        try:
            return _status(path)
        except Exception:
            import tomllib

            with path.open("rb") as file:
                return {"services": [{"name": name} for name in tomllib.load(file).get("services", {})]}
    except Exception:
        return {}


def _status(path: Any) -> dict[str, Any]:
    """The board. Raises whatever there is to raise."""
    import json
    import socket

    from minikube.control.client.endpoint import find_supervisor

    endpoint = find_supervisor(path)
    deadline = time.monotonic() + PATIENCE_S
    request = f"GET /v1/status HTTP/1.1\r\nHost: {endpoint.netloc}\r\nAuthorization: Bearer {endpoint.token}\r\n"
    with socket.create_connection((endpoint.host, endpoint.port), PATIENCE_S) as sock:
        sock.sendall(f"{request}Connection: close\r\n\r\n".encode())
        answer = bytearray()
        while len(answer) < MOST_BYTES:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (data := sock.recv(262_144)):
                break
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        raise OSError("refused")
    found: dict[str, Any] = json.loads(body)
    return found
