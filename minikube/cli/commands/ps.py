"""`ps` and `status` (floor 4): how everything is now, once or again at each change."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from minikube.cli.common import (
    connect,
    json_option,
    manifest_argument,
    manifest_path,
    note,
    print_json,
    print_json_line,
)
from minikube.errors import NothingRunning, Unavailable, UsageError

if TYPE_CHECKING:
    from minikube.cli.render.schemas import InstanceRow
    from minikube.control.client.blocking import ControlClient

POLL_S = 2.0
"""At least so often `ps --watch` draws anew: ages and usages go on."""

CLEAR = "\x1b[H\x1b[2J"


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Go on showing changes; with --json, a line for each changed row.")
@manifest_argument
@json_option
def ps_command(manifest: str | None, watch: bool, as_json: bool) -> None:
    """List instances: state, health and for how long, pid, restarts, usage, address, and why one is not ready."""
    if watch and not as_json and not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal — add --json, or follow `minikube events -f`")
    with _connect(manifest) as client:
        if watch:
            _watch(client, as_json)
            return
        from minikube.cli.render.rows import ps_rows

        if as_json:
            print_json(ps_rows(client.status(), time.time()))
        else:
            _show(client)


@contextmanager
def _connect(manifest: str | None) -> Iterator[ControlClient]:
    """As `connect`; where nothing is running, tells what a killed supervisor and guardian left."""
    try:
        with connect(manifest) as client:
            yield client
    except NothingRunning:
        from minikube.project.orphans import find_orphans
        from minikube.project_dir import project_dir

        if left := find_orphans(project_dir(manifest_path(manifest))):
            pids = ", ".join(map(str, left[:5])) + (", …" if len(left) > 5 else "")
            processes = "1 process" if len(left) == 1 else f"{len(left)} processes"
            note(f"warning: an earlier run left {processes} alive (pid {pids}) — `minikube down` ends them")
        raise


def _show(client: ControlClient, revision: int = -1) -> int:
    from minikube.cli.render.colors import has_colour
    from minikube.cli.render.rows import ps_lines

    snapshot = client.status() if revision < 0 else client.status(after=revision, wait=POLL_S)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    lines = list(ps_lines(snapshot, time.time(), width, colour=has_colour(sys.stdout)))
    click.echo("\n".join([CLEAR + lines[0], *lines[1:]] if revision >= 0 else lines), color=True)
    return snapshot.revision


def _watch(client: ControlClient, as_json: bool) -> None:
    """Until Ctrl-C, or until the supervisor ends."""
    from minikube.cli.render.rows import ps_rows

    told: dict[str, InstanceRow] = {}
    revision = 0 if not as_json else -1
    try:
        while not as_json:
            revision = _show(client, revision)
        while True:
            snapshot = client.status(after=revision, wait=POLL_S * 10)
            revision = snapshot.revision
            rows = {row.id: row for row in ps_rows(snapshot, time.time())}
            for row in rows.values():
                if told.get(row.id) != row:
                    print_json_line(row)
            told = rows
    except (NothingRunning, Unavailable):
        return


@click.command()
@manifest_argument
@json_option
def status_command(manifest: str | None, as_json: bool) -> None:
    """Tell in a few lines how the project is: its parts, how many instances are ready, what is not and why."""
    with _connect(manifest) as client:
        snapshot = client.status()
        control = client.endpoint.url
    if as_json:
        print_json(snapshot)
        return
    from minikube.cli.render.rows import status_lines

    for line in status_lines(snapshot, control, time.time()):
        click.echo(line)
