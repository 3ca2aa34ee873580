"""`registry`: a registry alone, without a project. The commands that ask one are in `discovery`, its tokens in `registry_token`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import print_message
from minikube.cli.options import optional, parse_address_option, pass_options
from minikube.defaults import DEFAULT_REGISTRY, SUPERVISOR_TOKEN_ENV, TOKEN_ENV
from minikube.errors import UsageError

if TYPE_CHECKING:
    from minikube.manifest import HostPort, TlsSettings

DEFAULT_REDIS = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class RegistryOptions:
    """The command line of `registry`."""

    listen: HostPort
    redis: str | None
    prefix: str
    node: str
    allow_checks: tuple[str, ...]
    metrics: HostPort | None
    tls_cert: str | None
    tls_key: str | None
    tls_ca: str | None

    def redis_url(self) -> str:
        """Return the URL of Redis: of the option, of the environment, or the default. Raises UsageError."""
        from minikube.manifest.parser import redis_url
        from minikube.registry.config import REDIS_ENV
        from minikube.text import mask_url

        url = self.redis or os.environ.get(REDIS_ENV) or DEFAULT_REDIS
        try:
            redis_url(url)
        except ValueError as error:
            raise UsageError(f"{'--redis' if self.redis else REDIS_ENV}: {error}") from None
        if self.redis and mask_url(self.redis) != self.redis:
            print_message(
                f"warning: every user of this machine can read a password on the command line — set {REDIS_ENV} instead"
            )
        return url

    def tls(self) -> TlsSettings | None:
        """Return the TLS files, None without any. Raises UsageError when one is missing."""
        from minikube.manifest import TlsSettings

        if not (self.tls_cert or self.tls_key or self.tls_ca):
            return None
        if not (self.tls_cert and self.tls_key):
            raise UsageError("--tls-cert and --tls-key go together — give both")
        for path in (self.tls_cert, self.tls_key, self.tls_ca):
            if path and not Path(path).is_file():
                raise UsageError(f"{path}: no such file")
        return TlsSettings(Path(self.tls_cert), Path(self.tls_key), Path(self.tls_ca) if self.tls_ca else None)


class RegistryGroup(click.Group):
    """`registry` itself runs a registry; `registry token` is imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["token"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "token":
            return None
        from minikube.cli.commands.registry_token import token_command

        return token_command


@click.group(cls=RegistryGroup, invoke_without_command=True, subcommand_metavar="[token …]")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=DEFAULT_REGISTRY,
    show_default=True,
    callback=parse_address_option,
    help="Address to listen on.",
)
@click.option("--redis", metavar="URL", help=f"Redis to use.  [default: REDIS_URL, or {DEFAULT_REDIS}]")
@click.option(
    "--prefix", metavar="TEXT", default="{minikube}", show_default=True, help="What all keys in Redis begin with."
)
@click.option(
    "--node",
    metavar="ID",
    default="",
    help="Id of this registry among several on one Redis.  [default: a random one]",
)
@click.option(
    "--allow-checks",
    multiple=True,
    metavar="HOST|NET|*",
    help="Allow checks of this host or network too, not only of the instance's own; may be given again.",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    callback=optional(parse_address_option),
    help="Loopback address that serves /metrics for Prometheus.  [default: none]",
)
@click.option("--tls-cert", metavar="FILE", type=click.Path(), help="Serve TLS with this certificate (PEM).")
@click.option("--tls-key", metavar="FILE", type=click.Path(), help="Private key of the certificate (PEM).")
@click.option(
    "--tls-ca",
    metavar="FILE",
    type=click.Path(),
    help="Accept only clients that show a certificate signed by this one (PEM).",
)
@pass_options(RegistryOptions)
def registry_command(options: RegistryOptions) -> None:
    """Run a registry without a project, on any Redis.

    Its token is MINIKUBE_REGISTRY_TOKEN in the environment; no option takes it, because other users can read command
    lines. `registry token` makes tokens with fewer rights.
    """
    if click.get_current_context().invoked_subcommand:
        return
    from minikube.registry.config import RegistryConfig

    config = RegistryConfig(
        listen=options.listen,
        redis_url=options.redis_url(),
        prefix=options.prefix,
        token=os.environ.get(TOKEN_ENV, ""),
        supervisor_token=os.environ.get(SUPERVISOR_TOKEN_ENV, ""),
        tls=options.tls(),
        allow_checks=options.allow_checks,
        node=options.node,
        metrics=options.metrics,
    )
    from minikube.registry.main import run

    run(config)
