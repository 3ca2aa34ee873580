"""Functions for most commands: the manifest's path, a client of the running supervisor, output to stdout and stderr.

Results go to stdout, messages for people to stderr. It refuses to define options: `options` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minikube.defaults import DEFAULT_FILE

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Snapshot


def manifest_path(given: str | None) -> Path:
    """Return the path of the project's manifest. The file need not exist.

    `given` is a file, or a directory that contains `supervisor.toml`. None: `supervisor.toml` in the working directory
    or in the nearest directory above.
    """
    if given:
        path = Path(given)
        return path / DEFAULT_FILE if os.path.isdir(path) else path
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / DEFAULT_FILE).is_file():
            return Path(DEFAULT_FILE) if directory == here else directory / DEFAULT_FILE
    return Path(DEFAULT_FILE)


def connect(manifest: str | None) -> ControlClient:
    """Return a client of the supervisor that runs the manifest. Raises NothingRunning where none runs."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    return ControlClient(find_supervisor(manifest_path(manifest)))


def print_json(value: Any) -> None:
    """Print a JSON value, indented. Control characters, which could change the terminal, are escaped."""
    import msgspec

    from minikube.control.encoding import encode

    sys.stdout.write(_encodable_json(msgspec.json.format(encode(value), indent=2).decode()) + "\n")


def print_instances_json(snapshot: Snapshot, names: tuple[str, ...]) -> None:
    """Print the selected instances as `ps --json` does; without names, all instances."""
    import time

    from minikube.cli.render.ps_table import instance_rows

    rows = instance_rows(snapshot, time.time())
    print_json([row for row in rows if not names or {row.service, row.name, row.id} & set(names)])


def print_json_line(value: Any) -> None:
    """Print a JSON value on one line and flush it, for commands that print more lines later."""
    print_json_lines((value,))


def print_json_lines(values: Iterable[Any]) -> None:
    """Print JSON values, one on each line, in a single write, and flush them."""
    from minikube.control.encoding import encode

    sys.stdout.write(_encodable_json("".join([encode(value).decode() + "\n" for value in values])))
    sys.stdout.flush()


def _encodable_json(text: str) -> str:
    """Return JSON with escapes in place of all but ASCII where stdout has another encoding than UTF-8."""
    if text.isascii() or (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        return text
    import json
    import re

    # Only strings can hold other characters, so an escape may stand for each.
    return re.sub("[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)


def print_message(text: str) -> None:
    """Print a message to stderr, with `minikube: ` before it."""
    from minikube.text import printable

    print(f"minikube: {printable(text)}", file=sys.stderr, flush=True)


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where needed: `1 service`, `2 services`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
