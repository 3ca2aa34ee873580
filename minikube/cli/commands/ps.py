"""`ps` and `status`: the present state of the project, once or at each change."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from minikube.cli.common import connect, manifest_path, print_json, print_json_line, print_message
from minikube.cli.completion import complete_names
from minikube.cli.goals import check_names
from minikube.cli.options import existing_manifest_argument, json_option, manifest_option, resolve_positional
from minikube.cli.stdout_watch import exit_with_reader
from minikube.control.client.names import expand_groups, own_services
from minikube.defaults import DEFAULT_FILE
from minikube.errors import NothingRunning, Unavailable, Unresponsive, UsageError
from minikube.project.selection.groups import known_names
from minikube.project_dir import PROJECT_DIR

if TYPE_CHECKING:
    from minikube.cli.render.schemas import InstanceRow
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Snapshot

REDRAW_INTERVAL_S = 2.0
"""`ps --watch` draws at least this often, because ages and usage change without a new revision."""

CLEAR_SCREEN = "\x1b[H\x1b[2J"
PIDS_SHOWN = 5


@click.command()
@click.argument("words", nargs=-1, metavar="[MANIFEST] [NAME]...", shell_complete=complete_names)
@click.option("-w", "--watch", is_flag=True, help="Keep showing changes; with --json, a line for each changed row.")
@manifest_option
@json_option
def ps_command(words: tuple[str, ...], manifest: tuple[str, ...], watch: bool, as_json: bool) -> None:
    """List instances: state, health, pid, restarts, usage, address, and why an instance is not ready.

    Without NAMES, which are services, instances, ids or groups (@NAME), all instances are listed.
    """
    manifest, names = split_words(words, manifest)
    if watch and not as_json and not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal — add --json, or use `minikube events -f`")
    with _connect(manifest) as client:
        if names:
            snapshot = client.status()
            check_names(snapshot, expand_groups(snapshot, names))
        if watch:
            _watch(client, names, as_json)
            return
        from minikube.cli.render.ps_table import instance_rows

        if as_json:
            print_json(instance_rows(_select(client.status(), names), time.time()))
        else:
            _print_table(client, names)


def split_words(words: tuple[str, ...], manifest: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files of the manifest and the names, from the arguments of `ps`.

    The first word is the manifest when it looks like a path, or when it names a file or the directory of a project: a service
    often has the name of the directory with its sources. `manifest` is the value of `-m`. Raises UsageError for a path that does
    not exist.
    """
    if not words or words[0].startswith("@"):
        return manifest, words
    word = words[0]
    is_project = any(os.path.exists(os.path.join(word, name)) for name in (DEFAULT_FILE, PROJECT_DIR))
    if "/" in word or "." in word or os.path.isfile(word) or is_project:
        return resolve_positional(word, manifest), words[1:]
    return manifest, words


def _select(snapshot: Snapshot, names: tuple[str, ...]) -> Snapshot:
    """Return the snapshot with the instances of `names` only; without names, with all."""
    if not names:
        return snapshot
    # Again at each change: an edit of the manifest may change the services of a group.
    wanted = set(known_names(own_services(snapshot), names))
    found = tuple(view for view in snapshot.instances if not wanted.isdisjoint((view.service, view.name, view.id)))
    return replace(snapshot, instances=found)


@contextmanager
def _connect(manifest: tuple[str, ...]) -> Iterator[ControlClient]:
    """Yield a client of the running supervisor.

    Where none runs, print a warning if processes of an earlier run are alive, and raise NothingRunning.
    """
    try:
        with connect(manifest) as client:
            yield client
    except NothingRunning:
        from minikube.project.orphans import find_orphans
        from minikube.project_dir import project_dir

        if pids := find_orphans(project_dir(manifest_path(manifest))):
            listed = ", ".join(map(str, pids[:PIDS_SHOWN])) + (", …" if len(pids) > PIDS_SHOWN else "")
            processes = f"{len(pids)} process{'' if len(pids) == 1 else 'es'}"
            print_message(f"warning: an earlier run left {processes} alive (pid {listed}) — `minikube down` ends them")
        raise


def _print_table(client: ControlClient, names: tuple[str, ...], revision: int = -1) -> int:
    """Print the table of the instances of `names`, or of all, and return its revision.

    With a `revision`, first wait until the state has changed since then, and clear the screen.
    """
    from minikube.cli.render.colors import has_colour
    from minikube.cli.render.ps_table import ps_lines

    snapshot = client.status() if revision < 0 else client.status(after=revision, wait=REDRAW_INTERVAL_S)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    lines = list(ps_lines(_select(snapshot, names), time.time(), width, colour=has_colour(sys.stdout)))
    click.echo("\n".join([CLEAR_SCREEN + lines[0], *lines[1:]] if revision >= 0 else lines), color=True)
    return snapshot.revision


def _watch(client: ControlClient, names: tuple[str, ...], as_json: bool) -> None:
    """Print the table after each change, or changed rows as JSON lines, until Ctrl-C or the end of the supervisor."""
    from minikube.cli.render.ps_table import instance_rows

    exit_with_reader()
    printed: dict[str, InstanceRow] = {}
    revision = -1 if as_json else 0
    try:
        while not as_json:
            revision = _print_table(client, names, revision)
        while True:
            snapshot = client.status(after=revision, wait=REDRAW_INTERVAL_S * 10)
            revision = snapshot.revision
            rows = {row.id: row for row in instance_rows(_select(snapshot, names), time.time())}
            for row in rows.values():
                if printed.get(row.id) != row:
                    print_json_line(row)
            printed = rows
    except Unresponsive:
        raise  # it lives: what is shown is not true any more
    except (NothingRunning, Unavailable):
        return


@click.command()
@existing_manifest_argument
@json_option
def status_command(manifest: tuple[str, ...], as_json: bool) -> None:
    """Summarize the running project: Redis, the registry, how many instances are ready, and why others are not."""
    with _connect(manifest) as client:
        snapshot = client.status()
        control = client.endpoint.url
    if as_json:
        print_json(snapshot)
        return
    from minikube.cli.render.details import status_lines

    for line in status_lines(snapshot, control, time.time()):
        click.echo(line)
