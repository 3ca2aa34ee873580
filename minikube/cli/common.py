"""Functions for most commands: the manifest's path, a client of the running supervisor, output to stdout and stderr.

Results go to stdout, messages for people to stderr. It refuses to define options: `options` does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minikube.defaults import DEFAULT_FILE
from minikube.errors import UsageError
from minikube.project_dir import PROJECT_DIR

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Snapshot


def manifest_path(given: str | None, timeout: float | None = None) -> Path:
    """Return the path of the project's manifest. The file need not exist.

    `given` is a file, which is returned, or a project's directory. None: the working directory, or the nearest directory above
    with a running project or a `supervisor.toml`. Of a directory whose project runs, it is the manifest that runs, whatever its
    name is; of another one `supervisor.toml`. Waits up to `timeout` seconds for the supervisor's answer.
    """
    if given and not os.path.isdir(given):
        return Path(given)
    here = Path(given) if given else _working_directory()
    for directory in (here,) if given else (here, *here.parents):
        found = _running_manifest(directory, timeout)
        if found is None and (given or os.path.isfile(directory / DEFAULT_FILE)):  # Path.is_file raises PermissionError
            found = directory / DEFAULT_FILE
        if found is not None:
            return Path(found.name) if directory == here and not given else found
    return Path(DEFAULT_FILE)


def _working_directory() -> Path:
    """Return the working directory. Raises UsageError where no relative path can be used there."""
    if problem := working_directory_problem():
        raise UsageError(problem)
    return Path.cwd()


def working_directory_problem() -> str:
    """Return why no relative path can be used here; empty where one can."""
    try:
        here = os.getcwd()
    except OSError as error:
        why = "was removed" if error.errno == errno.ENOENT else (error.strerror or str(error)).lower()
        return f"the working directory {why} — change to another one"
    return "" if os.access(".", os.X_OK) else f"{here}: permission denied — change to a directory that you may enter"


def running_manifest(given: str | None) -> Path:
    """Return the manifest of the project on which a command acts: the one that runs, else `manifest_path`.

    Where another file of the same directory is `given`, print a message that says which one runs.
    """
    path = manifest_path(given)
    running = other_running_manifest(path)
    if running is None:
        return path
    print_message(f"{path} is not the manifest that runs here: using {running.name}")
    return running


def other_running_manifest(path: Path) -> Path | None:
    """Return the manifest that runs in the directory of the manifest `path`, where it is another file; otherwise None."""
    running = _running_manifest(path.parent)
    if running is None or running.name == path.name:
        return None
    with contextlib.suppress(OSError):
        if running.samefile(path):  # a link to it
            return None
    return running


def _running_manifest(directory: Path, timeout: float | None = None) -> Path | None:
    """Return the path of the manifest that runs in a directory; None where no project runs there."""
    from minikube.project.run_lookup import ANSWER_TIMEOUT_S, find_named_run

    run = find_named_run(directory.absolute() / PROJECT_DIR, ANSWER_TIMEOUT_S if timeout is None else timeout)
    if run is None or run.record is None or not run.record.manifest:
        return None
    return directory / Path(run.record.manifest).name


def connect(manifest: str | None) -> ControlClient:
    """Return a client of the supervisor that runs the project of a manifest. Raises NothingRunning where none runs."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    return ControlClient(find_supervisor(running_manifest(manifest)))


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


def dashboard_lack() -> str:
    """Return why the terminal cannot show the dashboard, as the environment says; empty where it can."""
    term = os.environ.get("TERM", "")
    return "" if term not in ("", "dumb") else f"TERM is {term}" if term else "TERM is not set"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where needed: `1 service`, `2 services`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
