"""Commands that speak to a registry (floor 4): get, instances, register, deregister; and `registry`, which is one.

Which registry: --registry, else MINIKUBE_REGISTRY, else the one of the project here, else 127.0.0.1:5555.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from minikube.cli.common import (
    json_option,
    manifest_option,
    manifest_path,
    note,
    print_json,
)
from minikube.cli.completion import complete_ids, complete_names
from minikube.defaults import DEFAULT_REGISTRY, TOKEN_ENV
from minikube.errors import MinikubeError, NotFound, NothingRunning, Unavailable, UsageError

if TYPE_CHECKING:
    import ssl

    from minikube.blocking import Registry
    from minikube.manifest import HostPort, TlsSettings

Command = TypeVar("Command", bound=Callable[..., Any])


def registry_option(command: Command) -> Command:
    return click.option(
        "--registry", metavar="HOST:PORT", help="Which registry.  [default: MINIKUBE_REGISTRY, or the project's]"
    )(manifest_option(command))


class RegistryTarget(NamedTuple):
    """To a registry. What is None is the environment's to tell, as for any client."""

    address: str | None
    token: str | None = None
    tls: ssl.SSLContext | None = None


def registry_target(given: str | None, manifest: str | None) -> RegistryTarget:
    """Where the registry listens, and its token and TLS if the manifest tells them."""
    from minikube.manifest import load_manifest

    if given:
        return RegistryTarget(str(_host_port("--registry", given)))
    if not manifest and os.environ.get("MINIKUBE_REGISTRY"):
        return RegistryTarget(None)
    path = manifest_path(manifest)
    if not path.is_file() and not manifest:
        return RegistryTarget(None)
    settings = load_manifest(path).registry
    from minikube.project.environment import registry_tls

    address = _running_registry(path) or str(settings.listen)
    return RegistryTarget(address, settings.token or None, registry_tls(settings))


def _running_registry(path: Path) -> str:
    """What the supervisor says: the port may have been any free one."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    try:
        with ControlClient(find_supervisor(path), timeout=1.0) as client:
            return client.status().registry
    except MinikubeError:
        return ""


@contextmanager
def open_registry(given: str | None, manifest: str | None) -> Iterator[Registry]:
    """A connection to the registry that is meant. Nobody there is NothingRunning (exit code 3)."""
    from minikube import blocking

    address, token, tls = registry_target(given, manifest)
    try:
        with blocking.open_registry(address, token=token, tls=tls) as registry:
            registry.status()
            yield registry
            if registry.stale:
                note("the registry's store is away: this is from its memory")
    except Unavailable as error:
        if isinstance(error.__cause__, ConnectionRefusedError):  # its text may tell of another: the registry's store
            raise NothingRunning(
                f"{registry.address}: no registry there — `minikube up` or `minikube registry` starts one"
            ) from None
        raise


@click.command()
@click.argument("name", shell_complete=complete_names)
@registry_option
@json_option
def get_command(name: str, registry: str | None, manifest: str | None, as_json: bool) -> None:
    """Print ip:port of one passing instance of NAME; exit code 4 when there is none."""
    with open_registry(registry, manifest) as found:
        address = found.get(name)
    if as_json:
        print_json(address)
    else:
        click.echo(str(address))


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@registry_option
@json_option
def instances_command(name: str | None, registry: str | None, manifest: str | None, as_json: bool) -> None:
    """List what is registered (under NAME): state, address, since when, the last check's words."""
    from minikube.cli.render.table import age, columns

    with open_registry(registry, manifest) as found:
        instances = found.instances(name)
    if as_json:
        print_json(instances)
        return
    now = time.time()
    rows = [
        (one.name, one.uuid, one.state, str(one.addr), age(one.since, now), one.output.strip().partition("\n")[0])
        for one in sorted(instances, key=lambda one: (one.name, str(one.addr)))
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in columns(("NAME", "ID", "STATE", "ADDRESS", "SINCE", "OUTPUT"), rows, width=width, give=5):
        click.echo(line)


@click.command()
@click.argument("name")
@click.argument("address", metavar="HOST:PORT")
@click.option("--check", metavar="CHECK", help="http(s)://…, tcp://host:port or ttl:  [default: tcp://HOST:PORT]")
@click.option("--id", "uuid", default="", help="The instance's id.  [default: the registry makes one up]")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given again.")
@click.option("--meta", "meta", multiple=True, metavar="KEY=VALUE", help="May be given again.")
@click.option("--interval", metavar="DURATION", help="Between probes.  [default: 5s]")
@registry_option
@json_option
def register_command(
    name: str,
    address: str,
    check: str | None,
    uuid: str,
    tags: tuple[str, ...],
    meta: tuple[str, ...],
    interval: str | None,
    registry: str | None,
    manifest: str | None,
    as_json: bool,
) -> None:
    """Register an instance of NAME at HOST:PORT and print its id."""
    from minikube.model import Registration

    pairs = dict(pair.partition("=")[::2] for pair in meta)
    registration = Registration(
        name=name,
        addr=address,
        health_check=check or f"tcp://{address}",
        uuid=uuid,
        tags=tags,
        meta=pairs,
        interval=interval,
    )
    with open_registry(registry, manifest) as found:
        id = found.register(registration)
    if as_json:
        from minikube.cli.render.schemas import Registered

        print_json(Registered(id))
    else:
        click.echo(id)


@click.command()
@click.argument("id", metavar="ID", shell_complete=complete_ids)
@registry_option
@json_option
def deregister_command(id: str, registry: str | None, manifest: str | None, as_json: bool) -> None:
    """Remove the instance ID from the registry; exit code 4 when it was not there."""
    with open_registry(registry, manifest) as found:
        if not found.deregister(id):
            raise NotFound(f"{id}: no such instance — `minikube instances` lists them")
    if as_json:
        from minikube.cli.render.schemas import Registered

        print_json(Registered(id))
    else:
        click.echo(f"{id} deregistered")


@click.command()
@click.option("--listen", metavar="HOST:PORT", default=DEFAULT_REGISTRY, show_default=True, help="Where to listen.")
@click.option("--redis", metavar="URL", help="Which Redis.  [default: REDIS_URL, or redis://127.0.0.1:6379/0]")
@click.option("--prefix", default="{minikube}", show_default=True, help="Of every key in Redis.")
@click.option("--node", default="", help="This registry's id among those on one Redis.  [default: made up]")
@click.option("--allow-checks", "allow", multiple=True, metavar="HOST|NET|*", help="Where checks may point besides.")
@click.option(
    "--metrics", metavar="HOST:PORT", help="Where Prometheus finds /metrics, on loopback.  [default: nowhere]"
)
@click.option("--tls-cert", type=click.Path(), help="PEM file of the certificate.")
@click.option("--tls-key", type=click.Path(), help="PEM file of its key.")
@click.option("--tls-ca", type=click.Path(), help="PEM file: clients must show a certificate that it signed.")
def registry_command(
    listen: str,
    redis: str | None,
    prefix: str,
    node: str,
    allow: tuple[str, ...],
    metrics: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    tls_ca: str | None,
) -> None:
    """Run a registry alone, beside any Redis. Its token comes by MINIKUBE_REGISTRY_TOKEN, never by an option."""
    from minikube.manifest.parser import redis_url
    from minikube.registry.config import REDIS_ENV, RegistryConfig
    from minikube.text import mask_url

    where = _host_port("--listen", listen)
    shown = _host_port("--metrics", metrics) if metrics else None
    token = os.environ.get(TOKEN_ENV, "")
    tls = _tls(tls_cert, tls_key, tls_ca)
    url = redis or os.environ.get(REDIS_ENV) or "redis://127.0.0.1:6379/0"
    try:
        redis_url(url)
    except ValueError as error:
        raise UsageError(f"{'--redis' if redis else REDIS_ENV}: {error}") from None
    if redis and mask_url(redis) != redis:
        note(f"warning: a password on the command line is seen by everybody here — pass the URL by {REDIS_ENV}")
    from minikube.registry.main import run

    run(
        RegistryConfig(
            listen=where,
            redis_url=url,
            prefix=prefix,
            token=token,
            tls=tls,
            allow_checks=allow,
            node=node,
            metrics=shown,
        )
    )


def _host_port(option: str, text: str) -> HostPort:
    from minikube.manifest import parse_host_port

    try:
        return parse_host_port(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}, got {text!r}") from None


def _tls(cert: str | None, key: str | None, ca: str | None) -> TlsSettings | None:
    from minikube.manifest import TlsSettings

    if not (cert or key or ca):
        return None
    if not (cert and key):
        raise UsageError("--tls-cert and --tls-key go together")
    for path in (cert, key, ca):
        if path and not Path(path).is_file():
            raise UsageError(f"{path}: no such file")
    return TlsSettings(Path(cert), Path(key), Path(ca) if ca else None)
