"""`import`: a `supervisor.toml` from another tool's file; `minikube.importers` makes its text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import count_of, print_message
from minikube.defaults import DEFAULT_FILE
from minikube.errors import ManifestError, MinikubeError, UsageError

if TYPE_CHECKING:
    from minikube.importers import Counts, Imported

STDOUT = "-"


@click.command(epilog="Then run `minikube validate` and `minikube up`.")
@click.argument("source", metavar="[FILE|DIR]", required=False, default=".", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(),
    help="Write to this file, or to supervisor.toml in this directory; - prints it.  [default: beside the source]",
)
def import_command(source: str, output: str | None) -> int:
    """Write a supervisor.toml from a Procfile, or from a file of Compose, process-compose, supervisord or pm2.

    DIR, by default the working directory, has to hold one such file. What differs from the source has a comment at its line;
    what was left out is listed at the top. An existing file is never overwritten.
    """
    from minikube.importers import import_source, write_manifest

    target = _target(Path(source), output)
    imported = import_source(Path(source), target.parent if target else None)
    text = write_manifest(imported)
    if target is None:
        click.echo(text, nl=False)
        print_message(_summary(imported.count_lines()))
        return 0
    _write_new(target, text, _mode_of(Path(source), imported))
    summary = f"{target}: {count_of(len(imported.services), 'service')}; {_summary(imported.count_lines())}"
    return _check(target, summary)


def _target(source: Path, output: str | None) -> Path | None:
    """Return the path of the manifest; None for standard output."""
    if output == STDOUT:
        return None
    if output is None:
        return (source if os.path.isdir(source) else source.parent) / DEFAULT_FILE
    target = Path(output)
    if output.endswith(os.sep) or os.path.isdir(target):
        target = target / DEFAULT_FILE
    if not os.path.isdir(target.parent):
        raise UsageError(f"{target.parent}: no such directory — create it first, or choose another with -o")
    return target


def _mode_of(source: Path, imported: Imported) -> int:
    """Return the permissions of the manifest: what it copies must not be readable for more users than its sources are."""
    from minikube.importers.detect import find_source

    directory, mode = find_source(source).path.parent, 0o666
    for file in imported.sources:
        mode &= (directory / file.name).stat().st_mode
    return mode | 0o600


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a new file with the permissions `mode`, less those of the umask.

    Raises MinikubeError where there is one; a file that could not be written whole is removed.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise MinikubeError(
            f"{path} exists already — nothing was written; move it away, or choose another file with -o"
        ) from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check(path: Path, summary: str) -> int:
    """Load the written manifest, print its warnings and problems and the summary, and return the exit code.

    A manifest with a problem stays: most problems are mended there, such as a variable or a file that is missing here.
    """
    from minikube.manifest import load_manifest

    try:
        manifest = load_manifest(path)
    except ManifestError as error:
        for line in str(error).splitlines():
            print_message(line)
        click.echo(summary)
        raise MinikubeError(
            f"{path} was written, but cannot be started yet — mend the above, then `minikube validate`"
        ) from None
    for warning in manifest.warnings:
        print_message(f"warning: {warning}")
    click.echo(summary)
    return 0


def _summary(counts: Counts) -> str:
    """Return the summary: `12 lines taken as they are, 3 with a comment, 1 left out`."""
    taken = f"{count_of(counts.exact, 'line')} taken as {'it is' if counts.exact == 1 else 'they are'}"
    return f"{taken}, {counts.commented} with a comment, {counts.refused} left out"
