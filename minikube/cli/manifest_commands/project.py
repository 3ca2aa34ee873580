"""Commands about the manifest and this program (floor 4). Nothing needs to run for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import (
    json_option,
    manifest_argument,
    manifest_path,
    note,
    print_json,
)
from minikube.defaults import DEFAULT_FILE
from minikube.errors import MinikubeError, UsageError

if TYPE_CHECKING:
    from minikube.manifest import Manifest

FIRST_MANIFEST = """\
# What `minikube up` starts. Every key: `minikube schema`; check it: `minikube validate`.
name = "{name}"

[services.web]
command = "python -m http.server ${{PORT}} --bind ${{HOST}}"
port = "auto"                          # a free one; or a number
health = "/"
replicas = 2

[services.clock]
command = ["python", "-u", "clock.py"]
depends_on = ["web"]                   # started once a web passes
"""

CLOCK = '''\
"""Asks the registry where `web` is, every two seconds, and fetches a page from there."""

import time
import urllib.request

from minikube import MinikubeError, blocking

with blocking.open_registry() as registry:
    while True:
        try:
            address = registry.get("web")
            with urllib.request.urlopen(f"http://{address}/", timeout=2) as page:
                print(f"web at {address} answers {page.status}")
        except (MinikubeError, OSError) as error:
            print(f"no web now: {error}")
        time.sleep(2)
'''


@click.command()
@click.argument("directory", required=False, default=".", type=click.Path())
def init_command(directory: str) -> None:
    """Write a first manifest, with two small services that run, into DIRECTORY (here)."""
    from minikube.manifest import load_manifest
    from minikube.manifest.load import default_name

    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    manifest, clock = target / DEFAULT_FILE, target / "clock.py"
    for path in (manifest, clock):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} is there already — nothing was written; move it away or use another directory")
    written: list[Path] = []
    try:
        for path, text in ((manifest, FIRST_MANIFEST.format(name=default_name(target.absolute()))), (clock, CLOCK)):
            with path.open("x") as file:
                written.append(path)
                file.write(text)
    except Exception:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    load_manifest(manifest)
    where = "" if target == Path() else f" {manifest}"
    click.echo(f"wrote {manifest} and {clock} — start them with: minikube up{where}")


@click.command()
@manifest_argument
@json_option
def validate_command(manifest: str | None, as_json: bool) -> int:
    """Check a manifest and tell all problems at once; exit code 2 when there are any."""
    from minikube.errors import ManifestError
    from minikube.manifest import load_manifest

    if as_json:
        from minikube.cli.render.schemas import Validation

    path = manifest_path(manifest)
    try:
        loaded = load_manifest(path)
        _check_patterns(loaded)
    except ManifestError as error:
        if not as_json:
            raise
        print_json(Validation(False, tuple(str(error).splitlines())))
        return error.exit_code
    if as_json:
        print_json(Validation(True, (), (*loaded.warnings, *_doubts(loaded)), tuple(loaded.services)))
        return 0
    for warning in (*loaded.warnings, *_doubts(loaded)):
        note(f"warning: {warning}")
    count = len(loaded.services)
    click.echo(f"{path}: good, {count} service{'' if count == 1 else 's'}")
    return 0


def _check_patterns(manifest: Manifest) -> None:
    """Raises ManifestError for each pattern of `watch` that is none."""
    import re

    from minikube.errors import ManifestError

    wrong = []
    for name, pattern in ((spec.name, pattern) for spec in manifest.services.values() for pattern in spec.watch):
        from minikube.project.watch_patterns import parse_rules

        try:
            parse_rules([pattern], manifest.directory)
        except (ValueError, re.error):
            wrong.append(
                f'{manifest.path}: services.{name}.watch: expected a pattern as in .gitignore, got "{pattern}"'
            )
    if wrong:
        raise ManifestError("\n".join(wrong))


def _doubts(manifest: Manifest) -> list[str]:
    """What `up` would refuse on this machine, and may not on another."""
    from minikube.errors import StartError
    from minikube.linux.credentials import find_credentials

    doubts = []
    for spec in manifest.services.values():
        if spec.runtime == "container":
            continue
        try:
            find_credentials(spec.name, spec.user, spec.group)
        except StartError as error:
            doubts.append(str(error))
        if not spec.cwd.is_dir():
            why = "Not a directory" if spec.cwd.exists() else "No such file or directory"
            doubts.append(f"{spec.name}: its directory {spec.cwd}: {why} — set services.{spec.name}.cwd")
    return doubts


def complete_commands(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Commands with `--json`."""
    from minikube.cli.render.schemas import SHAPES

    return [name for name in SHAPES if name.startswith(incomplete)]


@click.command()
@click.argument("command", required=False, shell_complete=complete_commands)
def schema_command(command: str | None) -> None:
    """Print the JSON Schema of a manifest, or of what COMMAND --json prints.

    In the first line of supervisor.toml, for editors: `#:schema PATH`.
    """
    if command is None:
        from minikube.manifest import schema_json

        click.echo(schema_json())
        return
    from minikube.cli.render.schemas import SHAPES, output_schema

    if command not in SHAPES:
        raise UsageError(f"{command}: expected a command that has --json: {', '.join(SHAPES)}")
    print_json(output_schema(command))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script for SHELL; for bash: eval "$(minikube completion bash)"."""
    from click.shell_completion import get_completion_class

    from minikube.cli.app import cli

    found = get_completion_class(shell)
    assert found is not None
    try:
        script = found(cli, {}, "minikube", "_MINIKUBE_COMPLETE").source()
    except RuntimeError as error:
        raise MinikubeError(f"completion: {error}") from None
    click.echo(script)


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
