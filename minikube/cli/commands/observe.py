"""Commands that only look (floor 4): events, describe, dashboard. Everything shown is the board."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from minikube.cli.common import (
    connect,
    json_option,
    manifest_argument,
    manifest_option,
    manifest_path,
    moment,
    names_argument,
    note,
    print_json,
    print_json_line,
)
from minikube.errors import UsageError

if TYPE_CHECKING:
    from minikube.model import Event

SHORTEST_STAMP = 10
"""Digits from which on a number is Unix seconds, not an event's number."""


@click.command()
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option(
    "--since",
    metavar="WHEN",
    default="0",
    help="Only events of the last 5m or 1h, since 14:30 or 2026-11-24T14:30, or after an event's number.",
)
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N of them.")
@manifest_option
@json_option
def events_command(
    names: tuple[str, ...], follow: bool, since: str, tail: int | None, manifest: str | None, as_json: bool
) -> None:
    """Show what happened: starts, exits, checks, restarts; of NAMES, or of everything."""
    from minikube.cli.render.log_printer import LogPrinter

    number, moment_s = _since(since)
    with connect(manifest) as client:
        if names:
            from minikube.cli.commands.wait import check_names

            snapshot = client.status()
            check_names(snapshot, names)
            names += tuple(one.name for one in snapshot.instances if one.id in names)
        printer = LogPrinter(sys.stdout, [], timestamps=True, prefix=False)
        show = print_json_line if as_json else printer.event
        found: list[Event] = []
        while (reply := client.events(number)).events:
            if reply.missed and number and not as_json:
                note("older events are forgotten")
            number = reply.last
            found += (event for event in reply.events if _concerns(event, names) and event.time >= moment_s)
        if tail is not None:
            found = found[max(len(found) - tail, 0) :]
        if as_json and not follow:
            print_json(found)
            return
        for event in found:
            show(event)
        for event in client.follow_events(number) if follow else ():
            if _concerns(event, names):
                show(event)


def _since(text: str) -> tuple[int, float]:
    """The number of the last event that is not wanted, and the time of the first that is."""
    if text.isascii() and text.isdigit() and len(text) < SHORTEST_STAMP:
        return int(text), 0.0
    return 0, moment("--since", text)


def _concerns(event: Event, names: tuple[str, ...]) -> bool:
    return not names or not {event.service, event.instance}.isdisjoint(names)


@click.command()
@names_argument()
@manifest_option
@json_option
def describe_command(names: tuple[str, ...], manifest: str | None, as_json: bool) -> None:
    """Tell everything about services or instances: checks with their output, exits, last lines, events."""
    from minikube.cli.render.rows import describe_lines

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
    from minikube.control.client.blocking import ControlClient, find_supervisor

    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("the dashboard needs a terminal — `minikube ps` and `minikube logs -f` do without")
    endpoint = find_supervisor(manifest_path(manifest))
    with ControlClient(endpoint) as client:
        client.status()  # what is wrong from the start is told in a line; what goes wrong later, in the dashboard
    from tui import run_dashboard

    with contextlib.suppress(KeyboardInterrupt):
        run_dashboard(endpoint, owner=False)
