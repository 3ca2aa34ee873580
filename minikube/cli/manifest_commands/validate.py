"""`validate`: all mistakes of the manifest, and what `up` would refuse on this machine."""

import click

from minikube.cli.common import count_of, manifest_files, print_json, print_message
from minikube.cli.options import json_option, manifest_argument
from minikube.errors import ManifestError


@click.command()
@manifest_argument
@json_option
def validate_command(manifest: tuple[str, ...], as_json: bool) -> int:
    """Check the manifest and report all mistakes. The exit code is 2 when there are mistakes."""
    from minikube.manifest.load import read_manifest

    if as_json:
        from minikube.cli.render.schemas import Validation
    files = manifest_files(manifest)
    try:
        loaded, reading = read_manifest(files)
    except ManifestError as error:
        if not as_json:
            raise
        print_json(Validation(False, error.problems))
        return error.exit_code
    from minikube.project.machine_check import find_missing

    warnings = (*reading.warnings, *find_missing(reading, loaded.services.values()))
    if as_json:
        print_json(Validation(True, (), warnings, tuple(loaded.services)))
        return 0
    for warning in warnings:
        print_message(f"warning: {warning}")
    bases = f", and {', '.join(reading.bases)} only extended" if reading.bases else ""
    click.echo(f"{files}: good, {count_of(len(loaded.services), 'service')}{bases}")
    return 0
