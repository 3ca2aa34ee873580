"""Commands that change what runs (floor 4): each is one request to the supervisor for each name."""

from collections.abc import Callable
from typing import Any

import click

from minikube.cli.common import connect, json_option, manifest_option, names_argument, note, print_instances
from minikube.cli.completion import complete_services, complete_signals
from minikube.errors import MinikubeError, NotFound, UsageError


def act(
    manifest: str | None, names: tuple[str, ...], done: str, request: Callable[[Any, str], object], as_json: bool
) -> int:
    """Asks for one name after the other. What fails does not keep the rest; an unknown name changes nothing at all.

    `as_json`: tells how the instances of `names` are then, as `ps` does, instead of a line for each.
    """
    with connect(manifest) as client:
        for name in names:
            client.service(name)  # raises NotFound before anything is changed
        worst = 0
        for name in names:
            try:
                request(client, name)
            except MinikubeError as error:
                if len(names) == 1:
                    raise
                note(str(error) if str(error).startswith(name) else f"{name}: {error}")
                worst = error.exit_code
            else:
                if not as_json:
                    click.echo(f"{name} {done}")
        if as_json:
            print_instances(client.status(), names)
        return worst


@click.command()
@names_argument()
@manifest_option
@json_option
def start_command(names: tuple[str, ...], manifest: str | None, as_json: bool) -> int:
    """Start stopped (or fatal) services or instances."""
    return act(manifest, names, "started", lambda client, name: client.start(name), as_json)


@click.command()
@names_argument()
@manifest_option
@json_option
def stop_command(names: tuple[str, ...], manifest: str | None, as_json: bool) -> int:
    """Stop services or instances, and wait until nothing of them is alive. They stay stopped."""
    return act(manifest, names, "stopped", lambda client, name: client.stop(name), as_json)


@click.command()
@names_argument()
@manifest_option
@json_option
def restart_command(names: tuple[str, ...], manifest: str | None, as_json: bool) -> int:
    """Stop and start services or instances."""
    return act(manifest, names, "restarted", lambda client, name: client.restart(name), as_json)


@click.command()
@names_argument()
@click.option(
    "-s",
    "--signal",
    default="KILL",
    show_default=True,
    help="A signal's name, such as TERM or HUP.",
    shell_complete=complete_signals,
)
@manifest_option
@json_option
def kill_command(names: tuple[str, ...], signal: str, manifest: str | None, as_json: bool) -> int:
    """Send a signal to the processes of services or instances; the restart policy does the rest."""
    from minikube.manifest import parse_signal

    try:
        wanted = parse_signal(signal)
    except ValueError as error:
        raise UsageError(f"--signal: {error}, got {signal!r}") from None
    return act(manifest, names, f"sent {wanted}", lambda client, name: client.kill(name, wanted), as_json)


@click.command()
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=N...", shell_complete=complete_services)
@manifest_option
@json_option
def scale_command(assignments: tuple[str, ...], manifest: str | None, as_json: bool) -> int:
    """Set how many replicas services have: minikube scale product=3 (or: product 3)."""
    wanted = _assignments(assignments)
    return act(manifest, tuple(wanted), "scaled", lambda client, name: client.scale(name, wanted[name]), as_json)


def _assignments(words: tuple[str, ...]) -> dict[str, int]:
    if len(words) == 2 and words[1].isdigit():
        words = (f"{words[0]}={words[1]}",)
    wanted: dict[str, int] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not equals or not number.isascii() or not number.isdigit() or len(number) > 6:
            raise UsageError(f"expected NAME=N, such as product=3, got {word!r}")
        wanted[name] = int(number)
    return wanted


@click.command()
@names_argument()
@click.option("--on/--off", default=True, help="Out of discovery (on, the default), or back in.")
@click.option("--reason", default="", help="Shown wherever the instance is.")
@manifest_option
@json_option
def maintenance_command(names: tuple[str, ...], on: bool, reason: str, manifest: str | None, as_json: bool) -> int:
    """Take instances out of discovery without touching their processes, or back in (--off)."""
    done = "in maintenance" if on else "out of maintenance"
    try:
        return act(manifest, names, done, lambda client, name: client.maintenance(name, on, reason), as_json)
    except NotFound as error:
        if names[-1] in ("on", "off") and str(error).startswith(f"{names[-1]}:"):
            raise NotFound(f"{error} (did you mean --{names[-1]}?)") from None
        raise
