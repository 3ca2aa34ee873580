"""Functions for most commands: the manifest's path, a client of the running supervisor, output to stdout and stderr.

Results go to stdout, messages for people to stderr. It refuses to define options: `options` does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minikube.defaults import DEFAULT_FILE
from minikube.errors import UsageError
from minikube.project_dir import PROJECT_DIR, ManifestFiles

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Snapshot


def manifest_files(given: Sequence[str] = (), timeout: float | None = None) -> ManifestFiles:
    """Return the files of the project's manifest. They need not exist.

    `given` are files, which are returned, or a project's directory. Empty: the working directory, or the nearest directory above
    with a running project or a `supervisor.toml`. Where the project of the directory runs, they are the files that it runs,
    whatever their names are; otherwise the default ones. Waits up to `timeout` seconds for the supervisor's answer.
    """
    given = [path for path in given if path]  # MINIKUBE_MANIFEST may end with a separator
    if given and (len(given) > 1 or not os.path.isdir(given[0])):
        first, *others = map(Path, given)
        return ManifestFiles(first / DEFAULT_FILE if os.path.isdir(first) else first, tuple(others))
    here = Path(given[0]) if given else _working_directory()
    for directory in (here,) if given else (here, *here.parents):
        found = _running_files(directory, timeout)
        if found is None and (given or os.path.isfile(directory / DEFAULT_FILE)):  # Path.is_file raises PermissionError
            found = ManifestFiles(directory / DEFAULT_FILE, finds_override=True)
        if found is not None:
            return found.map(partial(_short_path, directory)) if directory == here and not given else found
    return ManifestFiles(Path(DEFAULT_FILE), finds_override=True)


def manifest_path(given: Sequence[str] = (), timeout: float | None = None) -> Path:
    """Return the first of the `manifest_files`: its directory is the project's."""
    return manifest_files(given, timeout).first


def _short_path(directory: Path, path: Path) -> Path:
    """Return a path relative to a directory that it is in, else as it is."""
    return path.relative_to(directory) if path.is_relative_to(directory) else path


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


def running_files(given: Sequence[str]) -> ManifestFiles:
    """Return the files of the manifest on which a command acts: those that run, else `manifest_files`.

    Where another file of the same directory is `given`, print a message that says which ones run.
    """
    files = manifest_files(given)
    running = other_running_files(files)
    if running is None:
        return files
    # Fewer files than run still name the project.
    if not _are_among(files, running):
        print_message(f"{files} is not the manifest that runs here: using {running}")
    return running


def running_manifest(given: Sequence[str]) -> Path:
    """Return the first of the `running_files`."""
    return running_files(given).first


def other_running_files(files: ManifestFiles) -> ManifestFiles | None:
    """Return the files that run in the directory of a manifest, where they are other files; otherwise None.

    Those of the same directory are returned without it.
    """
    directory = files.first.parent
    running = _running_files(directory)
    if running is None:
        return None
    if _are_among(files, running) and (files.finds_override or len(files.existing()) == len(running.existing())):
        return None
    return running.map(partial(_short_path, directory))


def _are_among(files: ManifestFiles, running: ManifestFiles) -> bool:
    """Return whether the files begin as those that run."""
    if len(files.overrides) > len(running.possible()):
        return False
    return all(map(_is_same, files.existing(), running.possible()))


def _is_same(path: Path, running: Path) -> bool:
    """Return whether two paths are the same, or one is a link to the other."""
    if path.absolute() == running.absolute():
        return True
    with contextlib.suppress(OSError):
        return running.samefile(path)
    return False


def _running_files(directory: Path, timeout: float | None = None) -> ManifestFiles | None:
    """Return the files of the manifest that runs in a directory; None where no project runs there."""
    from minikube.project.run_lookup import ANSWER_TIMEOUT_S, find_named_run

    run = find_named_run(directory.absolute() / PROJECT_DIR, ANSWER_TIMEOUT_S if timeout is None else timeout)
    if run is None or run.record is None or not run.record.manifest:
        return None
    return run.record.manifest_files.map(partial(_path_in, directory, Path(run.record.manifest).parent))


def _path_in(directory: Path, recorded: Path, path: Path) -> Path:
    """Return the path of a file of a project as seen through `directory`, which the project's record calls `recorded`."""
    return directory / path.relative_to(recorded) if path.is_relative_to(recorded) else path


def connect(manifest: tuple[str, ...]) -> ControlClient:
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
