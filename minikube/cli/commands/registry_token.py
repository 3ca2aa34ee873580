"""`registry token create`, `list` and `revoke`: the tokens of a registry.

The registry is the one that `discovery` finds; it must take the caller for its own user, root, or the holder of an admin token.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from minikube.cli.commands.discovery import open_registry, registry_option
from minikube.cli.common import print_json, print_message
from minikube.cli.options import json_option
from minikube.errors import NotFound

if TYPE_CHECKING:
    from minikube.manifest import HostPort


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
    rights: tuple[str, ...], name: str, registry: HostPort | None, manifest: str | None, as_json: bool
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
def list_command(registry: HostPort | None, manifest: str | None, as_json: bool) -> None:
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
def revoke_command(name: str, registry: HostPort | None, manifest: str | None) -> None:
    """Revoke the token NAME: at once at this registry, within seconds at others on the same Redis."""
    with open_registry(registry, manifest) as client:
        try:
            client.call("Discovery.RevokeToken", (name,))
        except NotFound as error:
            raise NotFound(f"{error} — `minikube registry token list` shows them") from None
    click.echo(f"{name} revoked")
