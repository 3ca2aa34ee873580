"""Commands that only look (floor 4): events, describe, dashboard. Everything shown is the board."""

from __future__ import annotations

import contextlib
import sys
import time

import click

from minikube.cli.common import (
    connect,
    json_option,
    manifest_argument,
    manifest_option,
    manifest_path,
    names_argument,
    note,
    print_json,
    print_json_line,
)
from minikube.errors import UsageError


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--since", metavar="NUMBER", type=click.IntRange(0), default=0, help="Only events after this number.")
@manifest_option
@json_option
def events_command(follow: bool, since: int, manifest: str | None, as_json: bool) -> None:
    """Show what happened: starts, exits, checks, restarts."""
    from minikube.cli.plain import Printer

    with connect(manifest) as client:
        reply = client.events(since)
        if reply.missed and not as_json:
            note("older events are forgotten")
        if as_json and not follow:
            print_json(reply.events)
            return
        printer = Printer(sys.stdout, [], timestamps=True, prefix=False)
        show = print_json_line if as_json else printer.event
        for event in reply.events:
            show(event)
        if follow:
            for event in client.follow_events(reply.last):
                show(event)


@click.command()
@names_argument()
@manifest_option
@json_option
def describe_command(names: tuple[str, ...], manifest: str | None, as_json: bool) -> None:
    """Tell everything about services or instances: checks with their output, exits, last lines, events."""
    from minikube.cli.rows import describe_lines

    with connect(manifest) as client:
        replies = [client.service(name) for name in names]
    if as_json:
        print_json(replies)
        return
    for reply in replies:
        for line in describe_lines(reply, time.time()):
            click.echo(line)


@click.command()
@manifest_argument
def dashboard_command(manifest: str | None) -> None:
    """Open the dashboard of what is running; quitting it stops nothing."""
    from minikube.client.control import find_supervisor

    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("the dashboard needs a terminal — `minikube ps` and `minikube logs -f` do without")
    endpoint = find_supervisor(manifest_path(manifest))
    from tui import run_dashboard

    with contextlib.suppress(KeyboardInterrupt):
        run_dashboard(endpoint, owner=False)
