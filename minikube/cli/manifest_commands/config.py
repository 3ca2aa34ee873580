"""`config`: the manifest with variables filled in, short forms written out and secrets masked."""

import click

from minikube.cli.common import manifest_files, print_json, print_message
from minikube.cli.options import json_option, manifest_argument


@click.command()
@click.option("--all", "with_defaults", is_flag=True, help="Print keys that have their default value, too.")
@manifest_argument
@json_option
def config_command(manifest: tuple[str, ...], with_defaults: bool, as_json: bool) -> None:
    """Print the manifest with variables filled in, short forms written out and secrets masked."""
    from minikube.manifest import load_manifest
    from minikube.manifest.dump import dump_manifest

    loaded = load_manifest(manifest_files(manifest))
    for warning in loaded.warnings:
        print_message(f"warning: {warning}")
    tree = dump_manifest(loaded, defaults=with_defaults)
    if as_json:
        print_json(tree)
        return
    import tomli_w

    from minikube.text import printable

    click.echo("\n".join(map(printable, tomli_w.dumps(tree).rstrip().split("\n"))))
