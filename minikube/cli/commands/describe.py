"""`describe`: all details of services and instances."""

from __future__ import annotations

import time

import click

from minikube.cli.common import connect, print_json
from minikube.cli.options import json_option, manifest_option, names_argument
from minikube.control.client.names import expand_groups
from minikube.project.selection.groups import is_group


@click.command()
@names_argument()
@manifest_option
@json_option
def describe_command(names: tuple[str, ...], manifest: tuple[str, ...], as_json: bool) -> None:
    """Show all details of services or instances: settings, checks and their output, exits, last lines, events."""
    from minikube.cli.render.details import describe_lines

    with connect(manifest) as client:
        if any(map(is_group, names)):
            names = expand_groups(client.status(), names)
        replies = [client.service(name) for name in names]
    if as_json:
        print_json(replies)
        return
    for reply in replies:
        for line in describe_lines(reply, time.time()):
            click.echo(line)
