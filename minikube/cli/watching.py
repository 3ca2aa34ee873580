"""Commands that only look (floor 4): ps, logs, events, describe, wait, dashboard. Everything shown is the board."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from minikube.cli.common import (
    connect,
    duration,
    json_option,
    manifest_argument,
    manifest_option,
    manifest_path,
    names_argument,
    note,
    print_json,
    print_json_line,
)
from minikube.errors import MinikubeError, NotFound, UsageError

if TYPE_CHECKING:
    from minikube.model import InstanceView, Snapshot

TIMED_OUT = 124
"""The exit code of `timeout(1)`, and ours for `wait`."""

MAX_TAIL = 100_000
"""The most lines that the control API gives at once."""

POLL_S = 20.0
"""How long one long poll of `wait` may take; the supervisor answers sooner when anything changes."""


@click.command()
@manifest_argument
@json_option
def ps_command(manifest: str | None, as_json: bool) -> None:
    """List instances: process state, check, pid, address, restarts, uptime, and why one is not ready."""
    with connect(manifest) as client:
        snapshot = client.status()
    from minikube.cli.rows import ordered, ps_lines

    if as_json:
        print_json(ordered(snapshot))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in ps_lines(snapshot, time.time(), width):
        click.echo(line)


@click.command()
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option("-n", "--tail", metavar="N", default="100", help="How many last lines, or `all`.", show_default=True)
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was printed.")
@click.option("--no-prefix", is_flag=True, help="Show the lines without the instances' names.")
@manifest_option
@json_option
def logs_command(
    names: tuple[str, ...],
    follow: bool,
    tail: str,
    timestamps: bool,
    no_prefix: bool,
    manifest: str | None,
    as_json: bool,
) -> None:
    """Show what services print; NAMES are services or instances, none for all of them."""
    from minikube.cli.plain import Printer

    count = _tail(tail)
    with connect(manifest) as client:
        snapshot = client.status()
        printer = Printer(
            sys.stdout, [instance.name for instance in snapshot.instances], timestamps=timestamps, prefix=not no_prefix
        )
        for line in client.logs(names, tail=count, follow=follow):
            if as_json:
                print_json_line(line)
            else:
                printer.line(line)


def _tail(text: str) -> int:
    if text == "all":
        return MAX_TAIL
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise click.BadParameter("expected a number of lines or `all`", param_hint="--tail")
    return min(int(text), MAX_TAIL)


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
        print_json(replies if len(replies) > 1 else replies[0])
        return
    for reply in replies:
        for line in describe_lines(reply, time.time()):
            click.echo(line)


@click.command()
@names_argument(required=False)
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["ready", "passing", "running", "stopped"]),
    default="ready",
    show_default=True,
    help="ready: passing where there is a check, else running.",
)
@click.option("--timeout", metavar="DURATION", default="60s", show_default=True, help="Give up after that long.")
@manifest_option
def wait_command(names: tuple[str, ...], wanted: str, timeout: str, manifest: str | None) -> int:
    """Wait until services (all of them, when none is named) are ready; exit code 124 when the time is over."""
    return wait_for(names, wanted, duration("--timeout", timeout), manifest)


def wait_for(names: tuple[str, ...], wanted: str, seconds: float, manifest: str | None) -> int:
    """Waits on the board's long poll; says on stderr what kept it when the time is over."""
    deadline = time.monotonic() + seconds
    with connect(manifest) as client:
        snapshot = client.status()
        while True:
            chosen = choose(snapshot, names)
            late = [instance for instance in chosen if not is_as_wanted(instance, wanted)]
            if not late and (chosen or not snapshot.services or wanted == "stopped"):
                return 0
            if wanted != "stopped" and (dead := [instance for instance in late if instance.state == "fatal"]):
                raise MinikubeError(f"{dead[0].name} is fatal: {dead[0].reason or dead[0].exit}")
            left = deadline - time.monotonic()
            if left <= 0:
                waited = ", ".join(f"{instance.name} ({instance.reason or instance.state})" for instance in late)
                note(f"waited {seconds:g}s for {waited or 'the first instance'}")
                return TIMED_OUT
            snapshot = client.status(after=snapshot.revision, wait=min(POLL_S, left))


def choose(snapshot: Snapshot, names: tuple[str, ...]) -> list[InstanceView]:
    """Instances of the named services, instances and ids. Raises NotFound for a name that is none of them."""
    if not names:
        return list(snapshot.instances)
    services = {service.name for service in snapshot.services}
    for name in names:
        if name not in services and not any(name in (one.name, one.id) for one in snapshot.instances):
            raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")
    return [one for one in snapshot.instances if {one.service, one.name, one.id} & set(names)]


def is_as_wanted(instance: InstanceView, wanted: str) -> bool:
    if wanted == "stopped":
        return instance.state in ("stopped", "exited", "fatal")
    if wanted == "passing":
        return instance.check == "passing"
    if wanted == "running" or instance.check is None:
        return instance.state == "running" or (wanted == "ready" and instance.state == "exited" and not instance.pid)
    return instance.check in ("passing", "maintenance")


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
