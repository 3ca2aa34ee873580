"""`events`: what happened in the running project."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import click

from minikube.cli.common import connect, print_json, print_json_line, print_message
from minikube.cli.goals import check_names
from minikube.cli.options import json_option, manifest_option, names_argument, parse_time_option, pass_options
from minikube.cli.stdout_watch import exit_with_reader
from minikube.control.client.names import expand_groups

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Event

UNIX_TIME_DIGITS = 10
"""A number with fewer digits is an event's number, any other is Unix seconds."""


class EventStart(NamedTuple):
    """Where to begin with printing: after event `number`, and not before `time` (Unix seconds). 0 means no limit."""

    number: int
    time: float


@dataclass(frozen=True)
class EventsOptions:
    """The arguments and options of `events`."""

    names: tuple[str, ...]
    """Empty: everything."""
    follow: bool
    since: EventStart
    tail: int | None
    manifest: tuple[str, ...]
    as_json: bool


def _parse_since(context: click.Context, parameter: click.Parameter, text: str) -> EventStart:
    """Return the value of `--since`: the number of an event, or a time.

    A number with fewer than `UNIX_TIME_DIGITS` digits is the number of an event.
    """
    if text.isascii() and text.isdigit() and len(text) < UNIX_TIME_DIGITS:
        return EventStart(int(text), 0.0)
    return EventStart(0, parse_time_option(context, parameter, text))


@click.command()
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events.")
@click.option(
    "--since",
    metavar="WHEN",
    default="0",
    callback=_parse_since,
    help='Print events from this time on: "5m" (ago), "14:30" or "2026-11-24T14:30"; or after the event with this number.',
)
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Print only the last N events.")
@manifest_option
@json_option
@pass_options(EventsOptions)
def events_command(options: EventsOptions) -> None:
    """Print what happened: starts, exits, restarts, changes of health.

    NAMES are services, instances or ids; without NAMES, all events are printed.
    """
    from minikube.cli.render.log_printer import LogPrinter

    with connect(options.manifest) as client:
        names = options.names
        if names:
            snapshot = client.status()
            names = expand_groups(snapshot, names)
            check_names(snapshot, names)
            # Events name instances, not ids.
            names += tuple(view.name for view in snapshot.instances if view.id in names)
        printer = LogPrinter(sys.stdout, [], timestamps=True, prefix=False)
        print_event = print_json_line if options.as_json else printer.event
        events, last = _read_events(client, options, names)
        if options.as_json and not options.follow:
            print_json(events)
            return
        if options.follow:
            exit_with_reader()
        for event in events:
            print_event(event)
        for event in client.follow_events(last) if options.follow else ():
            if _concerns(event, names):
                print_event(event)


def _read_events(client: ControlClient, options: EventsOptions, names: tuple[str, ...]) -> tuple[list[Event], int]:
    """Return the past events to print, and the number of the project's newest event."""
    number = options.since.number
    events: list[Event] = []
    while (reply := client.events(number)).events:
        if reply.missed and number and not options.as_json:
            print_message("older events are not kept any more")
        number = reply.last
        events += (event for event in reply.events if _concerns(event, names) and event.time >= options.since.time)
    if options.tail is not None:
        events = events[max(len(events) - options.tail, 0) :]
    return events, number


def _concerns(event: Event, names: tuple[str, ...]) -> bool:
    return not names or not {event.service, event.instance}.isdisjoint(names)
