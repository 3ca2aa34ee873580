"""`minikube export` (floor 4): the manifest as files for Compose or Kubernetes. Nothing needs to run for it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import manifest_argument, manifest_path, note
from minikube.errors import UsageError

if TYPE_CHECKING:
    from minikube.export import Document, ExportPlan

MADE_BY = "# Made by minikube "
"""How our own files begin: those may be written again."""


@click.command(epilog="Then: docker compose up, or kubectl apply -f FILE|DIRECTORY.")
@click.argument("tool", type=click.Choice(["compose", "kubernetes"]))
@click.option(
    "-o", "--output", metavar="PATH", help="A file, or a directory for a file each.  [default: standard output]"
)
@click.option(
    "--image", "images", multiple=True, metavar="NAME=REF", help="A service's image; also redis and registry."
)
@click.option("--profile", "profiles", multiple=True, help="Kubernetes: put the services of this profile in.")
@click.option("--with-secrets", is_flag=True, help="Write the values of secrets, instead of places for them.")
@manifest_argument
def export_command(
    tool: str,
    output: str | None,
    images: tuple[str, ...],
    profiles: tuple[str, ...],
    with_secrets: bool,
    manifest: str | None,
) -> None:
    """Write the manifest as files for Compose or Kubernetes.

    What has no counterpart there is told line by line, on standard error and in the files.
    """
    from minikube.export import ExportOptions, compose_documents, kubernetes_documents, plan_export
    from minikube.manifest import load_manifest

    path = manifest_path(manifest)
    loaded = load_manifest(path)
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    output_dir = Path.cwd() if output is None else Path(output) if _is_directory(output) else Path(output).parent
    plan = plan_export(loaded, ExportOptions(_images(images), frozenset(profiles), with_secrets, output_dir.resolve()))
    documents = compose_documents(plan) if tool == "compose" else kubernetes_documents(plan)
    files = _files(plan, documents, tool, path, output)
    if output is None:
        click.echo("".join(files.values()), nl=False)
    else:
        _write({Path(name): text for name, text in files.items()}, private=with_secrets)
    for line in plan.notes:
        note(str(line))
    if output is not None:
        note(f"wrote {', '.join(files)}")


def _images(pairs: Iterable[str]) -> dict[str, str]:
    images: dict[str, str] = {}
    for pair in pairs:
        name, equals, reference = pair.partition("=")
        if not (name and equals and reference) or any(mark.isspace() for mark in reference):
            raise UsageError(f"--image: expected NAME=REF, such as product=registry.local/product:1, got {pair!r}")
        images[name] = reference
    return images


def _files(plan: ExportPlan, documents: list[Document], tool: str, path: Path, output: str | None) -> dict[str, str]:
    """Path (empty: standard output) → text. The notes are in the first file."""
    from minikube import __version__
    from minikube.export import to_yaml

    head = f"Made by minikube {__version__}: minikube export {tool} {shlex.quote(path.name)}"
    if output is None or not _is_directory(output):
        return {output or "": to_yaml(documents, plan.notes, head)}
    grouped: dict[str, list[Document]] = {}
    for document in documents:
        grouped.setdefault(document.file, []).append(document)
    return {
        str(Path(output, name)): to_yaml(group, plan.notes if at == 0 else [], head)
        for at, (name, group) in enumerate(grouped.items())
    }


def _is_directory(output: str) -> bool:
    return output.endswith(os.sep) or Path(output).is_dir() or not Path(output).suffix


def _write(files: dict[Path, str], *, private: bool) -> None:
    """All or none: a file that is not ours stops it before the first is written."""
    for path in files:
        if path.exists() and not path.read_text(errors="replace").startswith(MADE_BY):
            raise UsageError(
                f"{path} is there already and not made by this command — nothing was written; move it away"
            )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "w") as file:
            file.write(text)
        partial.replace(path)
