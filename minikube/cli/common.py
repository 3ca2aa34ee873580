"""What commands share (floor 4): the manifest option, JSON output, the connection to the supervisor."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from minikube.cli.completion import complete_names
from minikube.defaults import DEFAULT_FILE

if TYPE_CHECKING:
    from minikube.control.client.blocking import ControlClient
    from minikube.model import Snapshot

Command = TypeVar("Command", bound=Callable[..., Any])


def manifest_path(given: str | None) -> Path:
    """The manifest meant: the one given (or the one in the directory given), else `supervisor.toml` here or above."""
    if given:
        path = Path(given)
        return path / DEFAULT_FILE if os.path.isdir(path) else path
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / DEFAULT_FILE).is_file():
            return Path(DEFAULT_FILE) if directory == here else directory / DEFAULT_FILE
    return Path(DEFAULT_FILE)


def connect(manifest: str | None) -> ControlClient:
    """A client of the supervisor that runs the manifest. Raises NothingRunning."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    return ControlClient(find_supervisor(manifest_path(manifest)))


def manifest_option(command: Command) -> Command:
    """`-m FILE`: which project is meant."""
    return click.option(
        "-m",
        "--manifest",
        metavar="FILE",
        type=click.Path(),
        envvar="MINIKUBE_MANIFEST",
        help=f"The project's manifest.  [default: {DEFAULT_FILE} here or above]",
    )(command)


def manifest_argument(command: Command) -> Command:
    """`[MANIFEST]` and `-m FILE` alike, for commands that take no names."""

    @functools.wraps(command)
    def either(*args: Any, positional: str | None, manifest: str | None, **options: Any) -> Any:
        return command(*args, manifest=positional or manifest, **options)

    shape = click.argument("positional", metavar="[MANIFEST]", required=False, type=click.Path())
    return cast("Command", shape(manifest_option(either)))


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def duration(option: str, text: str) -> float:
    """Seconds in an option's value. Raises a usage error that names the option."""
    from minikube.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}, got {text!r}", param_hint=option) from None


def moment(option: str, text: str) -> float:
    """Unix seconds in an option's value. Raises a usage error that names the option."""
    import time

    from minikube.durations import parse_moment

    try:
        return parse_moment(text, time.time())
    except ValueError as error:
        raise click.BadParameter(f"{error}, got {text!r}", param_hint=option) from None


def names_argument(*, required: bool = True) -> Callable[[Command], Command]:
    """`NAMES...`: services, instances (`product-2`) or instance ids."""
    return click.argument("names", nargs=-1, required=required, shell_complete=complete_names)


def print_json(value: Any) -> None:
    """One JSON value, indented, as the API shows it: harmless to a terminal."""
    import msgspec

    from minikube.control.encoding import encode

    sys.stdout.write(msgspec.json.format(encode(value), indent=2).decode() + "\n")


def print_instances(snapshot: Snapshot, names: tuple[str, ...]) -> None:
    """The rows of `ps` as JSON: those of services, instances or ids; all where none is named."""
    import time

    from minikube.cli.render.rows import ps_rows

    rows = ps_rows(snapshot, time.time())
    print_json([row for row in rows if not names or {row.service, row.name, row.id} & set(names)])


def print_json_line(value: Any) -> None:
    """One JSON value on a line, flushed: for what goes on."""
    print_json_lines((value,))


def print_json_lines(values: Iterable[Any]) -> None:
    """Many of them, written together."""
    from minikube.control.encoding import encode

    sys.stdout.write("".join([encode(value).decode() + "\n" for value in values]))
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for people on stderr; stdout is for results."""
    from minikube.text import printable

    print(f"minikube: {printable(text)}", file=sys.stderr, flush=True)
