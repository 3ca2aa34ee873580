"""`dashboard`: the terminal dashboard of a running project."""

from __future__ import annotations

import contextlib
import sys

import click

from minikube.cli.common import running_manifest
from minikube.cli.options import existing_manifest_argument
from minikube.errors import UsageError


@click.command()
@existing_manifest_argument
def dashboard_command(manifest: str | None) -> None:
    """Open the dashboard of the running project. The project keeps running when you close it."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("the dashboard needs a terminal — use `minikube ps` and `minikube logs -f` without one")
    endpoint = find_supervisor(running_manifest(manifest))
    # An error at the start is one line here; the dashboard shows those that come later.
    with ControlClient(endpoint) as client:
        client.status()
    from tui import run_dashboard

    with contextlib.suppress(KeyboardInterrupt):
        run_dashboard(endpoint, owner=False)
