"""`minikube config` (floor 4): the manifest as it is meant. Nothing needs to run for it."""

import click

from minikube.cli.common import json_option, manifest_argument, manifest_path, note, print_json


@click.command()
@click.option("--all", "everything", is_flag=True, help="Defaults as well, not only what differs from them.")
@manifest_argument
@json_option
def config_command(manifest: str | None, everything: bool, as_json: bool) -> None:
    """Print the manifest resolved: variables filled in, short forms written out, secrets masked."""
    from minikube.manifest import load_manifest
    from minikube.manifest.dump import dump_manifest

    loaded = load_manifest(manifest_path(manifest))
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    tree = dump_manifest(loaded, defaults=everything)
    if as_json:
        print_json(tree)
        return
    import tomli_w

    from minikube.text import printable

    click.echo("\n".join(map(printable, tomli_w.dumps(tree).rstrip().split("\n"))))
