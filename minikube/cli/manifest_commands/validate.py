"""`validate`: all mistakes of the manifest, and what `up` would refuse on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minikube.cli.common import count_of, manifest_path, print_json, print_message
from minikube.cli.options import json_option, manifest_argument
from minikube.errors import ManifestError, StartError

if TYPE_CHECKING:
    from minikube.manifest import Manifest


@click.command()
@manifest_argument
@json_option
def validate_command(manifest: str | None, as_json: bool) -> int:
    """Check the manifest and report all mistakes. The exit code is 2 when there are mistakes."""
    from minikube.manifest import load_manifest

    if as_json:
        from minikube.cli.render.schemas import Validation
    path = manifest_path(manifest)
    try:
        loaded = load_manifest(path)
    except ManifestError as error:
        if not as_json:
            raise
        print_json(Validation(False, tuple(str(error).splitlines())))
        return error.exit_code
    warnings = (*loaded.warnings, *_machine_warnings(loaded))
    if as_json:
        print_json(Validation(True, (), warnings, tuple(loaded.services)))
        return 0
    for warning in warnings:
        print_message(f"warning: {warning}")
    click.echo(f"{path}: good, {count_of(len(loaded.services), 'service')}")
    return 0


def _machine_warnings(manifest: Manifest) -> list[str]:
    """Return a warning for each user and directory of the manifest that does not exist on this machine."""
    from minikube.linux.credentials import find_credentials

    warnings = []
    for spec in manifest.services.values():
        if spec.runtime == "container":
            continue
        try:
            find_credentials(spec.name, spec.user, spec.group)
        except StartError as error:
            warnings.append(str(error))
        if not spec.cwd.is_dir():
            why = "not a directory" if spec.cwd.exists() else "no such file or directory"
            warnings.append(f"{spec.name}: its working directory {spec.cwd}: {why} — set services.{spec.name}.cwd")
    return warnings
