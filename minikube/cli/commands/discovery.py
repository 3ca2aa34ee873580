"""`get`, `instances`, `register` and `deregister`: requests to a registry.

The registry is the one of --registry, else of MINIKUBE_REGISTRY, else of the project, else at 127.0.0.1:5555.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from minikube.addresses import split_host_port
from minikube.cli.common import manifest_path, print_json, print_message, running_files
from minikube.cli.completion import complete_ids, complete_single_names
from minikube.cli.options import json_option, manifest_option, optional, parse_registry_option, pass_options
from minikube.defaults import TOKEN_ENV
from minikube.errors import MinikubeError, NotFound, NothingRunning, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.messages import INVALID_PARAMS, UNAUTHORIZED

if TYPE_CHECKING:
    import ssl

    from minikube.blocking import Registry

Command = TypeVar("Command", bound=Callable[..., Any])

SUPERVISOR_TIMEOUT_S = 1.0

PARAMETERS = {
    "Name": "NAME",
    "Addr": "HOST:PORT",
    "Addr.IP": "HOST",
    "Addr.Port": "PORT",
    "HealthCheck": "--check",
    "Uuid": "--id",
    "Tags": "--tag",
    "Meta": "--meta",
    "Interval": "--interval",
    "Rights": "--right",
}
"""The arguments and options of commands by the name of the RPC's parameter."""


def registry_option(command: Command) -> Command:
    """Decorate a click command with `--registry HOST:PORT,…` and `-m FILE`, which select the registry to ask."""
    return click.option(
        "--registry",
        metavar="HOST:PORT[,…]",
        callback=optional(parse_registry_option),
        help="Registry to ask; of several, the first that answers.  [default: MINIKUBE_REGISTRY, or the project's]",
    )(manifest_option(command))


class RegistryTarget(NamedTuple):
    """The address, token and TLS settings with which to connect to a registry.

    For a None, the client uses the environment or its default.
    """

    address: str | None
    token: str | None = None
    tls: ssl.SSLContext | None = None


@contextmanager
def open_registry(given: str | None, manifest: tuple[str, ...]) -> Iterator[Registry]:
    """Yield a connection to the registry that `find_registry` selects. Raises NothingRunning where none listens."""
    from minikube import blocking

    address, token, tls = find_registry(given, manifest)
    try:
        with blocking.open_registry(address, token=token, tls=tls) as registry:
            registry.status()
            yield registry
            if registry.stale:
                print_message("the registry cannot reach Redis: the reply is from its last known state")
    except Unavailable as error:
        # By the cause, not by the text: a text with "refused" may be about the registry's Redis.
        if isinstance(error.__cause__, ConnectionRefusedError):
            raise NothingRunning(
                f"{registry.address}: no registry there — `minikube up` or `minikube registry` starts one"
            ) from None
        raise
    except RemoteError as error:
        if error.code == UNAUTHORIZED:
            raise MinikubeError(f"{registry.address}: {_unauthorized(error.message, token)}") from None
        if error.code == INVALID_PARAMS:
            raise UsageError(_in_words_of_options(error.message)) from None
        raise


def _unauthorized(message: str, token: str | None) -> str:
    """Return the registry's refusal in the words of a user of the command line; a reason other than the token is kept."""
    if "Discovery.Authenticate" in message or "token is wrong" in message:
        hint = "is wrong — correct" if token or os.environ.get(TOKEN_ENV) else "is missing — set"
        return f"the registry's token {hint} {TOKEN_ENV}"
    return message.removeprefix("unauthorized: ")


def _in_words_of_options(message: str) -> str:
    """Return the registry's message about wrong parameters with the command's words in place of the names of the RPC."""
    field, colon, text = message.removeprefix("invalid params: ").partition(": ")
    return f"{PARAMETERS.get(field, field)}{colon}{text}"


def find_registry(given: str | None, manifest: tuple[str, ...]) -> RegistryTarget:
    """Return how to connect to the registry: `given` (of `--registry`), else MINIKUBE_REGISTRY, else the project's.

    With `manifest` (of `-m`), MINIKUBE_REGISTRY is ignored. Raises ManifestError, and NothingRunning where nothing tells its port.
    """
    from minikube.manifest import load_manifest

    if given:
        return RegistryTarget(given)
    if not manifest and os.environ.get("MINIKUBE_REGISTRY"):
        return RegistryTarget(None)
    files = running_files(manifest)
    path = files.first
    address, token = _running_registry(path)
    if not path.is_file() and (address or not manifest):
        return RegistryTarget(address or None, token or None)
    settings = load_manifest(files).registry
    if not address and not settings.listen.port:  # any free port: none is known while nothing runs
        from minikube.control.client.endpoint import nothing_running
        from minikube.project_dir import project_dir

        raise nothing_running(path, project_dir(path))
    from minikube.project.environment import registry_tls

    return RegistryTarget(address or str(settings.listen), token or settings.token or None, registry_tls(settings))


def _running_registry(manifest: Path) -> tuple[str, str]:
    """Return the address of the running project's registry and the token of commands for it; empty where no supervisor answers."""
    # The supervisor is asked because the registry may listen on another port than the manifest's: on any free one.
    from minikube.control.client.blocking import ControlClient, find_supervisor
    from minikube.project.registry_tokens import command_token, supervisor_token

    try:
        endpoint = find_supervisor(manifest)
        with ControlClient(endpoint, timeout=SUPERVISOR_TIMEOUT_S) as client:
            return client.status().registry, command_token(supervisor_token(endpoint.token))
    except MinikubeError:
        return "", ""


@click.command()
@click.argument("name", shell_complete=complete_single_names)
@registry_option
@json_option
def get_command(name: str, registry: str | None, manifest: tuple[str, ...], as_json: bool) -> None:
    """Print ip:port of one passing instance of service NAME. The exit code is 4 when there is none."""
    with open_registry(registry, manifest) as client:
        address = client.get(name)
    if as_json:
        print_json(address)
    else:
        click.echo(str(address))


@click.command()
@click.argument("name", required=False, shell_complete=complete_single_names)
@registry_option
@json_option
def instances_command(name: str | None, registry: str | None, manifest: tuple[str, ...], as_json: bool) -> None:
    """List registered instances, of all services or of service NAME, with their state and the last check's output."""
    from minikube.cli.render.table import age, columns

    with open_registry(registry, manifest) as client:
        instances = client.instances(name)
        is_known = not name or instances or (registry is None and _is_project_service(name, manifest))
        if not is_known and name not in client.services():
            raise NotFound(f"{name}: no such service — `minikube instances` lists all")
    if as_json:
        print_json(instances)
        return
    now = time.time()
    rows = [
        (
            instance.name,
            instance.uuid,
            instance.state,
            str(instance.addr),
            age(instance.since, now),
            instance.output.strip().partition("\n")[0],
        )
        for instance in sorted(instances, key=lambda instance: (instance.name, str(instance.addr)))
    ]
    head = ("NAME", "ID", "STATE", "ADDRESS", "SINCE", "OUTPUT")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in columns(head, rows, width=width, shrink=head.index("OUTPUT")):
        click.echo(line)


def _is_project_service(name: str, manifest: tuple[str, ...]) -> bool:
    """Return whether the running project has a service with this name, which may have no registered instance."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    with contextlib.suppress(MinikubeError), ControlClient(find_supervisor(manifest_path(manifest))) as client:
        return any(service.name == name for service in client.status().services)
    return False


@dataclass(frozen=True)
class RegisterOptions:
    """The arguments and options of `register`."""

    name: str
    address: str
    check: str | None
    """`http(s)://…`, `tcp://host:port` or `ttl:`; None: TCP to the address."""
    uuid: str
    tags: tuple[str, ...]
    meta: tuple[str, ...]
    """`KEY=VALUE`."""
    interval: str | None
    registry: str | None
    manifest: tuple[str, ...]
    as_json: bool


@click.command()
@click.argument("name")
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--check",
    metavar="CHECK",
    help="How to check the instance: http(s)://…, tcp://host:port or ttl:  [default: tcp://HOST:PORT]",
)
@click.option("--id", "uuid", metavar="ID", default="", help="Id of the instance.  [default: the registry chooses one]")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Add a tag; may be given again.")
@click.option("--meta", "meta", multiple=True, metavar="KEY=VALUE", help="Add metadata; may be given again.")
@click.option("--interval", metavar="DURATION", help="Time between two checks.  [default: 5s]")
@registry_option
@json_option
@pass_options(RegisterOptions)
def register_command(options: RegisterOptions) -> None:
    """Register an instance of service NAME at HOST:PORT, and print its id."""
    from minikube.model import Registration

    try:
        split_host_port(options.address)
    except ValueError:
        raise UsageError(f"HOST:PORT: expected an address such as 127.0.0.1:8080, got {options.address!r}") from None
    for pair in options.meta:
        if not pair.partition("=")[0] or "=" not in pair:
            raise UsageError(f"--meta: expected KEY=VALUE, got {pair!r}")
    registration = Registration(
        name=options.name,
        addr=options.address,
        health_check=options.check or f"tcp://{options.address}",
        uuid=options.uuid,
        tags=options.tags,
        meta=dict(pair.partition("=")[::2] for pair in options.meta),
        interval=options.interval,
    )
    with open_registry(options.registry, options.manifest) as client:
        id = client.register(registration)
    if options.as_json:
        from minikube.cli.render.schemas import Registered

        print_json(Registered(id))
    else:
        click.echo(id)


@click.command()
@click.argument("id", metavar="ID", shell_complete=complete_ids)
@registry_option
@json_option
def deregister_command(id: str, registry: str | None, manifest: tuple[str, ...], as_json: bool) -> None:
    """Remove the instance ID from the registry. The exit code is 4 when it is not registered."""
    with open_registry(registry, manifest) as client:
        if not client.deregister(id):
            raise NotFound(f"{id}: no such instance — `minikube instances` lists them")
    if as_json:
        from minikube.cli.render.schemas import Registered

        print_json(Registered(id))
    else:
        click.echo(f"{id} deregistered")
