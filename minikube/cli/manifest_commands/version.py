"""`version`: print the version of minikube and of Python."""

import sys

import click

from minikube.cli.common import print_json
from minikube.cli.options import json_option


@click.command()
@json_option
def version_command(as_json: bool) -> None:
    """Print the version."""
    from minikube import __version__

    if as_json:
        from minikube.cli.render.schemas import Version

        print_json(Version(__version__, sys.version.split()[0]))
    else:
        click.echo(f"minikube {__version__}")
