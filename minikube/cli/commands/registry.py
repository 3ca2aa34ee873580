"""`registry`: a registry alone, without a project, and `registry token`: its tokens.

The commands that look up and register are in `discovery`. A token is made by the registry; it must take the caller for its
own user, root, or the holder of an admin token.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minikube.cli.commands.discovery import open_registry, registry_option
from minikube.cli.common import print_json, print_message
from minikube.cli.exit_codes import INTERRUPTED
from minikube.cli.options import json_option, optional, parse_address_option, pass_options
from minikube.defaults import DEFAULT_REGISTRY
from minikube.errors import NotFound, UsageError

if TYPE_CHECKING:
    from minikube.manifest import HostPort, TlsSettings

DEFAULT_REDIS = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class RegistryOptions:
    """The arguments and options of `registry`."""

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
        """Return the URL of Redis: of `--redis`, else of the first of REDIS_VARIABLES that is set, else the default.

        Raises UsageError for a wrong URL.
        """
        from minikube.manifest.parser import redis_url
        from minikube.registry.config import REDIS_VARIABLES
        from minikube.text import mask_url

        name = next((name for name in REDIS_VARIABLES if os.environ.get(name)), REDIS_VARIABLES[0])
        url = self.redis or os.environ.get(name) or DEFAULT_REDIS
        try:
            redis_url(url)
        except ValueError as error:
            raise UsageError(f"{'--redis' if self.redis else name}: {error}") from None
        if self.redis and mask_url(self.redis) != self.redis:
            print_message(
                f"warning: every user of this machine can read a password on the command line — set {name} instead"
            )
        return url

    def tls(self) -> TlsSettings | None:
        """Return the certificate, key and CA files of the options; None without any. Raises UsageError when one is missing."""
        from minikube.manifest import TlsSettings

        if not (self.tls_cert or self.tls_key or self.tls_ca):
            return None
        if not (self.tls_cert and self.tls_key):
            raise UsageError("--tls-cert and --tls-key go together — give both")
        for path in (self.tls_cert, self.tls_key, self.tls_ca):
            if path and not Path(path).is_file():
                raise UsageError(f"{path}: no such file")
        return TlsSettings(Path(self.tls_cert), Path(self.tls_key), Path(self.tls_ca) if self.tls_ca else None)


@click.group(invoke_without_command=True, subcommand_metavar="[token …]")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=DEFAULT_REGISTRY,
    show_default=True,
    callback=parse_address_option,
    help="Address to listen on.",
)
@click.option(
    "--redis", metavar="URL", help=f"Redis to use.  [default: MINIKUBE_REDIS_URL, REDIS_URL, or {DEFAULT_REDIS}]"
)
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
def registry_command(options: RegistryOptions) -> int:
    """Run a registry without a project, on any Redis.

    Its token is MINIKUBE_REGISTRY_TOKEN in the environment; no option takes it, because other users can read command
    lines. `registry token` makes tokens with fewer rights.
    """
    if click.get_current_context().invoked_subcommand:
        return 0
    from minikube.manifest.values import parse_allowed_check
    from minikube.registry.config import RegistryConfig, with_environment

    try:
        allow_checks = tuple(parse_allowed_check(item) for item in options.allow_checks)
    except ValueError as error:
        raise UsageError(f"--allow-checks: {error}") from None
    config = RegistryConfig(
        listen=options.listen,
        redis_url=options.redis_url(),
        prefix=options.prefix,
        tls=options.tls(),
        allow_checks=allow_checks,
        node=options.node,
        metrics=options.metrics,
    )
    from minikube.registry.main import run

    return INTERRUPTED if run(with_environment(config, os.environ)) else 0


@click.group()
def token_command() -> None:
    """Make, list and revoke tokens for programs that may change the registry.

    A program presents its token with Discovery.Authenticate; the SDK and minikube's commands take it from
    MINIKUBE_REGISTRY_TOKEN.
    """


@token_command.command("create")
@click.option(
    "--right",
    "rights",
    multiple=True,
    required=True,
    metavar="RIGHT",
    help='"register PATTERN" (a name, * for any characters), "read" (outputs of checks) or "admin"; may be given again.',
)
@click.option("--name", default="", metavar="NAME", help="Name of the token.  [default: the registry chooses one]")
@registry_option
@json_option
def create_command(
    rights: tuple[str, ...], name: str, registry: str | None, manifest: tuple[str, ...], as_json: bool
) -> None:
    """Make a token and print it, this once: the registry keeps only its hash."""
    with open_registry(registry, manifest) as client:
        created = client.call("Discovery.CreateToken", (list(rights), name))
    if as_json:
        print_json(created)
    else:
        print_message(f"token {created['Name']} — it is shown only now; `minikube registry token revoke` ends it")
        click.echo(created["Token"])


@token_command.command("list")
@registry_option
@json_option
def list_command(registry: str | None, manifest: tuple[str, ...], as_json: bool) -> None:
    """List the names and rights of all tokens."""
    from minikube.cli.render.table import age, columns

    with open_registry(registry, manifest) as client:
        tokens: list[dict[str, Any]] = client.call("Discovery.Tokens")
    if as_json:
        print_json(tokens)
        return
    now = time.time()
    rows = [(token["Name"], ", ".join(token["Rights"]), age(token["Created"], now)) for token in tokens]
    for line in columns(("NAME", "RIGHTS", "AGE"), rows):
        click.echo(line)


@token_command.command("revoke")
@click.argument("name")
@registry_option
def revoke_command(name: str, registry: str | None, manifest: tuple[str, ...]) -> None:
    """Revoke the token NAME: at once at this registry, within seconds at others on the same Redis."""
    with open_registry(registry, manifest) as client:
        try:
            client.call("Discovery.RevokeToken", (name,))
        except NotFound as error:
            raise NotFound(f"{error} — `minikube registry token list` shows them") from None
    click.echo(f"{name} revoked")


registry_command.add_command(token_command, "token")
