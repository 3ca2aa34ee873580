"""Click options and arguments that several commands share, and how a command gets its options as one struct.

A command with many options declares them with click, and a frozen struct with a field for each:

    @dataclass(frozen=True)
    class DownOptions: ...

    @click.command()
    @click.option("--now", …)
    @pass_options(DownOptions)
    def down_command(options: DownOptions) -> int: ...

Callbacks parse the values, so that a struct holds seconds and not text. Structs are dataclasses, because importing msgspec
would make every command slower.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from minikube.cli.completion import complete_names
from minikube.defaults import DEFAULT_FILE, OVERRIDE_FILE
from minikube.errors import UsageError

if TYPE_CHECKING:
    from minikube.manifest import HostPort

MANIFEST_ENV = "MINIKUBE_MANIFEST"
"""Names manifests as `-m` does, several separated as in PATH."""

Command = TypeVar("Command", bound=Callable[..., Any])
Options = TypeVar("Options")
Result = TypeVar("Result")
Value = TypeVar("Value")
Callback = Callable[[click.Context, click.Parameter, str], Value]


def pass_options(struct: Callable[..., Options]) -> Callable[[Callable[[Options], Result]], Callable[..., Result]]:
    """Decorate a function so that click's parameters become the fields of one `struct`, its only argument.

    The decorator has to be the lowest one.
    """

    def decorate(command: Callable[[Options], Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def with_struct(**parameters: Any) -> Result:
            return command(struct(**parameters))

        return with_struct

    return decorate


def manifest_option(command: Command, names: tuple[str, ...] = ()) -> Command:
    """Decorate a click command with `-m FILE`, the manifest of the project. `names` are further names of the option."""
    return click.option(
        "-m",
        "--manifest",
        *names,
        "manifest",
        metavar="FILE",
        type=click.Path(),
        multiple=True,
        envvar=MANIFEST_ENV,
        help="Manifest of the project; may be given again: keys of later files win."
        f"  [default: {DEFAULT_FILE} here or above, with {OVERRIDE_FILE} beside it]",
    )(command)


def is_from_environment(context: click.Context, name: str) -> bool:
    """Return whether the value of a parameter is that of an environment variable."""
    return context.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT


def choose_files(positional: str | None, manifest: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files of the manifest: the argument, or the values of `-m`. Raises UsageError where both are given."""
    if positional and manifest and not is_from_environment(click.get_current_context(), "manifest"):
        raise UsageError(f"{positional}: --manifest is given, too — write -m for each file, the first one first")
    return (positional,) if positional else manifest


def resolve_positional(positional: str, manifest: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files as `choose_files`. Raises UsageError also where the argument is no file or directory."""
    check_exists(positional)
    return choose_files(positional, manifest)


def check_exists(positional: str) -> None:
    """Raise UsageError where an argument is no file or directory, for a command that does not read the manifest."""
    # Without this, `down product` would stop the whole project of the working directory.
    if not os.path.exists(positional):
        raise UsageError(
            f"{positional}: no such file — expected a manifest or its directory, not the name of a service"
        )


def manifest_argument(command: Command) -> Command:
    """Decorate a click command that takes no names with `[MANIFEST]` and `-m FILE`."""

    @functools.wraps(command)
    def with_manifest(*args: Any, positional: str | None, manifest: tuple[str, ...], **options: Any) -> Any:
        return command(*args, manifest=choose_files(positional, manifest), **options)

    argument = click.argument("positional", metavar="[MANIFEST]", required=False, type=click.Path())
    return cast("Command", argument(manifest_option(with_manifest)))


def existing_manifest_argument(command: Command) -> Command:
    """Decorate a click command as `manifest_argument` does; an argument that is no file or directory is a usage error.

    For commands that find a running project by the directory of its manifest, and do not read the manifest.
    """

    with_manifest = manifest_argument(command)

    @functools.wraps(with_manifest)
    def with_existing(*args: Any, positional: str | None, **options: Any) -> Any:
        if positional:
            check_exists(positional)
        return with_manifest(*args, positional=positional, **options)

    return cast("Command", with_existing)


def json_option(command: Command) -> Command:
    """Decorate a click command with `--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def names_argument(*, required: bool = True) -> Callable[[Command], Command]:
    """Decorate a click command with `NAMES...`: services, instances (`product-2`) or ids of instances."""
    return click.argument("names", nargs=-1, required=required, shell_complete=complete_names)


def timeout_option(*, default: str | None, help: str) -> Callable[[Command], Command]:
    """Decorate a click command with `--timeout DURATION`, in seconds; without a `default`, None means no limit."""
    return click.option(
        "--timeout",
        metavar="DURATION",
        default=default,
        show_default=default is not None,
        callback=parse_duration_option if default else optional(parse_duration_option),
        help=help,
    )


def optional(parse: Callback[Value]) -> Callback[Value | None]:
    """Return a click callback that calls `parse`, but returns None for a missing or empty value (`--registry "$REGISTRY"`)."""

    def parse_if_given(context: click.Context, parameter: click.Parameter, text: str) -> Value | None:
        return parse(context, parameter, text) if text else None

    return parse_if_given


def parse_duration_option(_: click.Context, parameter: click.Parameter, text: str) -> float:
    """Return the seconds of a duration such as `5s`. Raises click's usage error, which names the option."""
    from minikube.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}, got {text!r}", param_hint=parameter.opts[-1]) from None


def parse_time_option(_: click.Context, parameter: click.Parameter, text: str) -> float:
    """Return the Unix time of `5m` (ago), `14:30` or a date. Raises click's usage error, which names the option.

    A time of day is today's for `--until`, for other options the last one.
    """
    import time

    from minikube.durations import parse_moment

    try:
        return parse_moment(text, time.time(), ahead=parameter.name == "until")
    except ValueError as error:
        raise click.BadParameter(f"{error}, got {text!r}", param_hint=parameter.opts[-1]) from None


def parse_address_option(_: click.Context, parameter: click.Parameter, text: str) -> HostPort:
    """Return the host and port of `HOST:PORT`. Raises UsageError."""
    from minikube.manifest import parse_host_port

    try:
        return parse_host_port(text)
    except ValueError as error:
        raise UsageError(f"{parameter.opts[-1]}: {error}, got {text!r}") from None


def parse_registry_option(_: click.Context, parameter: click.Parameter, text: str) -> str:
    """Return `HOST:PORT`, or several of them separated by commas. Raises UsageError."""
    from minikube.sdk.session import find_registry

    try:
        return str(find_registry(text, None))
    except UsageError as error:
        raise UsageError(f"{parameter.opts[-1]}: {str(error).removeprefix('registry address: ')}") from None
