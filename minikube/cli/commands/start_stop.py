"""`start`, `stop`, `restart`, `kill`, `scale` and `maintenance`: one request to the supervisor for each name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from minikube.cli.common import connect, print_instances_json, print_message
from minikube.cli.completion import complete_services, complete_signals
from minikube.cli.options import json_option, manifest_option, names_argument, pass_options
from minikube.control.client.names import expand_groups, own_services
from minikube.errors import MinikubeError, NotFound, UsageError
from minikube.project.dependency_graph import start_order
from minikube.project.selection.groups import expand_names, is_group

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import InstanceView, Snapshot

Request = Callable[["ControlClient", str], object]


def request_each(
    manifest: tuple[str, ...],
    names: tuple[str, ...],
    done: str,
    request: Request,
    as_json: bool,
    *,
    dependents_first: bool = False,
) -> int:
    """Call `request` with each name and print `NAME done`, or with `as_json` the instances; return the exit code.

    `done` is a word such as "stopped". Groups stand for their services, with `dependents_first` in the order of a stop.
    Raises NotFound for an unknown name before the first request. A failed request is printed, and the others are still
    made.
    """
    with connect(manifest) as client:
        names = _in_order(client.status(), names, dependents_first) if any(map(is_group, names)) else names
        before = {name: client.service(name).instances for name in names}  # raises NotFound
        exit_code = 0
        for name in names:
            try:
                request(client, name)
            except MinikubeError as error:
                if len(names) == 1:
                    raise
                print_message(str(error) if str(error).startswith(name) else f"{name}: {error}")
                exit_code = error.exit_code
            else:
                if not as_json:
                    click.echo(f"{name} {describe_result(done, before[name], client.service(name).instances)}")
        if as_json:
            print_instances_json(client.status(), names)
        return exit_code


def _in_order(snapshot: Snapshot, names: tuple[str, ...], dependents_first: bool) -> tuple[str, ...]:
    """Return the names, with the services of each group in the order of their dependencies."""
    services = {service.name: service for service in own_services(snapshot)}
    needs = {name: [need for need in service.depends_on if need in services] for name, service in services.items()}
    order = start_order(needs)
    ordered = [services[name] for name in (reversed(order) if dependents_first else order)]
    return expand_names(ordered, names)


def describe_result(done: str, before: Sequence[InstanceView], after: Sequence[InstanceView]) -> str:
    """Return what a request has come to, by the instances before and after it: `done`, or in which state they are instead."""
    if done in ("started", "restarted") and after:
        if pending := [view for view in after if view.state == "pending"]:
            count = "" if len(pending) == len(after) else f" ({len(pending)} of {len(after)})"
            return f"pending{count}: {pending[0].reason}" if pending[0].reason else f"pending{count}"
        if done == "started" and all(view.state in ("starting", "running") for view in before):
            return "running already"
    return done


@click.command()
@names_argument()
@manifest_option
@json_option
def start_command(names: tuple[str, ...], manifest: tuple[str, ...], as_json: bool) -> int:
    """Start services or instances that are stopped or fatal."""
    return request_each(manifest, names, "started", lambda client, name: client.start(name), as_json)


@click.command()
@names_argument()
@manifest_option
@json_option
def stop_command(names: tuple[str, ...], manifest: tuple[str, ...], as_json: bool) -> int:
    """Stop services or instances, and wait until their processes have ended. They stay stopped until you start them."""
    return request_each(
        manifest, names, "stopped", lambda client, name: client.stop(name), as_json, dependents_first=True
    )


@click.command()
@names_argument()
@manifest_option
@json_option
def restart_command(names: tuple[str, ...], manifest: tuple[str, ...], as_json: bool) -> int:
    """Stop and start services or instances; of several replicas, a few at a time."""
    return request_each(manifest, names, "restarted", lambda client, name: client.restart(name), as_json)


@click.command()
@names_argument()
@click.option(
    "-s",
    "--signal",
    metavar="SIGNAL",
    default="KILL",
    show_default=True,
    help="Name of the signal, such as TERM or HUP.",
    shell_complete=complete_signals,
)
@manifest_option
@json_option
def kill_command(names: tuple[str, ...], signal: str, manifest: tuple[str, ...], as_json: bool) -> int:
    """Send a signal to the processes of services or instances. Their restart policies decide whether they start again."""
    from minikube.manifest import parse_signal

    try:
        signal_name = parse_signal(signal)
    except ValueError as error:
        raise UsageError(f"--signal: {error}, got {signal!r}") from None
    return request_each(
        manifest, names, f"was sent signal {signal_name}", lambda client, name: client.kill(name, signal_name), as_json
    )


@click.command()
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=N...", shell_complete=complete_services)
@manifest_option
@json_option
def scale_command(assignments: tuple[str, ...], manifest: tuple[str, ...], as_json: bool) -> int:
    """Set the number of replicas of services: minikube scale product=3 order=2."""
    replicas = _parse_replicas(assignments)
    if any(map(is_group, replicas)):
        with connect(manifest) as client:
            snapshot = client.status()
        replicas = {one: number for name, number in replicas.items() for one in expand_groups(snapshot, (name,))}
    return request_each(
        manifest, tuple(replicas), "scaled", lambda client, name: client.scale(name, replicas[name]), as_json
    )


def _parse_replicas(words: tuple[str, ...]) -> dict[str, int]:
    """Return the number of replicas by service or group, from words such as `web=2`, or from the two words `web 2`.

    Raises UsageError.
    """
    from minikube.manifest.validate import MAX_REPLICAS

    if len(words) == 2 and words[1].isdigit():
        words = (f"{words[0]}={words[1]}",)
    replicas: dict[str, int] = {}
    for word in words:
        name, equals, number = word.rpartition("=")  # the name of a tag may have the character
        if not equals or not number.isascii() or not number.isdigit() or len(number) > 6:
            raise UsageError(f"expected NAME=N, such as product=3, got {word!r}")
        if int(number) > MAX_REPLICAS:
            raise UsageError(f"{word}: expected 0 to {MAX_REPLICAS} replicas")
        replicas[name] = int(number)
    return replicas


@dataclass(frozen=True)
class MaintenanceOptions:
    """The arguments and options of `maintenance`."""

    names: tuple[str, ...]
    on: bool
    reason: str
    manifest: tuple[str, ...]
    as_json: bool


@click.command()
@names_argument()
@click.option("--on/--off", default=True, help="Begin maintenance (the default), or end it.")
@click.option("--reason", metavar="TEXT", default="", help="Why; `ps`, `describe` and the dashboard show it.")
@manifest_option
@json_option
@pass_options(MaintenanceOptions)
def maintenance_command(options: MaintenanceOptions) -> int:
    """Hide instances from service discovery without touching their processes; --off shows them again."""
    names, on, reason = options.names, options.on, options.reason
    done = "in maintenance" if on else "out of maintenance"
    try:
        return request_each(
            options.manifest, names, done, lambda client, name: client.maintenance(name, on, reason), options.as_json
        )
    except NotFound as error:
        if names[-1] in ("on", "off") and str(error).startswith(f"{names[-1]}:"):
            raise NotFound(f"{error} (did you mean --{names[-1]}?)") from None
        raise
