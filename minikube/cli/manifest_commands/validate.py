"""`validate`: all mistakes of the manifest, and what `up` would refuse on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minikube.cli.common import count_of, manifest_files, print_json, print_message
from minikube.cli.options import json_option, manifest_argument
from minikube.errors import ManifestError, Problem, StartError

if TYPE_CHECKING:
    from minikube.manifest import Manifest
    from minikube.manifest.diagnostics import ManifestReading


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
    warnings = (*reading.warnings, *_machine_warnings(loaded, reading))
    if as_json:
        print_json(Validation(True, (), warnings, tuple(loaded.services)))
        return 0
    for warning in warnings:
        print_message(f"warning: {warning}")
    bases = f", and {', '.join(reading.bases)} only extended" if reading.bases else ""
    click.echo(f"{files}: good, {count_of(len(loaded.services), 'service')}{bases}")
    return 0


def _machine_warnings(manifest: Manifest, reading: ManifestReading) -> list[Problem]:
    """Return a warning for each user and directory of the manifest that does not exist on this machine."""
    from minikube.linux.credentials import find_credentials

    warnings = []
    for spec in manifest.services.values():
        if spec.runtime == "container":
            continue
        path = f"services.{spec.name}"
        try:
            find_credentials(spec.name, spec.user, spec.group)
        except StartError as error:
            key = f"{path}.{'user' if spec.user else 'group'}"
            warnings.append(reading.make_problem(key, str(error).removeprefix(f"{spec.name}: ")))
        if not spec.cwd.is_dir():
            why = "not a directory" if spec.cwd.exists() else "no such file or directory"
            warnings.append(reading.make_problem(f"{path}.cwd", f"its working directory {spec.cwd}: {why}"))
    return warnings
