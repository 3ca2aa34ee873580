"""`config`: the manifest with variables filled in, short forms written out and secrets masked; where its values come from."""

import sys

import click

from minikube.cli.common import manifest_files, print_json, print_message
from minikube.cli.options import json_option, manifest_argument


def is_terminal() -> bool:
    """Return whether the output goes to a terminal."""
    return sys.stdout.isatty()


@click.command()
@click.option("--all", "with_defaults", is_flag=True, help="Print keys that have their default value, too.")
@click.option("--origins", is_flag=True, help="Print for each value the file, line and variables that it comes from.")
@manifest_argument
@json_option
def config_command(manifest: tuple[str, ...], with_defaults: bool, origins: bool, as_json: bool) -> None:
    """Print the manifest with variables filled in, short forms written out and secrets masked."""
    from minikube.manifest.dump import dump_manifest
    from minikube.manifest.load import read_manifest

    loaded, reading = read_manifest(manifest_files(manifest))
    for warning in loaded.warnings:
        print_message(f"warning: {warning}")
    tree = dump_manifest(loaded, defaults=with_defaults)
    if origins:
        from minikube.manifest.layers.origins import find_origins

        found = find_origins(reading, tree)
        if as_json:
            print_json(found)
            return
        import shutil

        from minikube.cli.render.origins import origin_lines

        # A pipe and a file get whole values, which may be searched for.
        width = max(shutil.get_terminal_size().columns, 80) if is_terminal() else 0
        for line in origin_lines(found, width):
            click.echo(line)
        return
    if as_json:
        print_json(tree)
        return
    import tomli_w

    from minikube.text import printable

    click.echo("\n".join(map(printable, tomli_w.dumps(tree).rstrip().split("\n"))))
