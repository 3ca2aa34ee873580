"""`dashboard`: the terminal dashboard of a running project."""

from __future__ import annotations

import sys

import click

from minikube.cli.common import dashboard_lack, running_manifest
from minikube.cli.exit_codes import INTERRUPTED
from minikube.cli.options import existing_manifest_argument
from minikube.errors import UsageError


@click.command()
@existing_manifest_argument
def dashboard_command(manifest: tuple[str, ...]) -> int:
    """Open the dashboard of the running project. The project keeps running when you close it."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("the dashboard needs a terminal — use `minikube ps` and `minikube logs -f` without one")
    if lack := dashboard_lack():
        raise UsageError(f"{lack}, and the dashboard needs control sequences — set TERM, or use `minikube ps -w`")
    path = running_manifest(manifest)
    endpoint = find_supervisor(path)
    # An error at the start is one line here; the dashboard shows those that come later.
    with ControlClient(endpoint) as client:
        client.status()
    from minikube.cli.lifecycle.dashboard_process import DashboardProcess

    dashboard = DashboardProcess(endpoint, path)
    with dashboard.end_on_signals():
        return INTERRUPTED if dashboard.run() == "interrupt" else 0
