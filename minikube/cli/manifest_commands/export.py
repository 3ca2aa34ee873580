"""`export`: the manifest as files for Compose or Kubernetes; `minikube.export` makes their content."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import manifest_files, print_message
from minikube.cli.options import manifest_argument, pass_options
from minikube.errors import UsageError
from minikube.project_dir import ManifestFiles

if TYPE_CHECKING:
    from minikube.export import ExportPlan

MADE_BY = "# Made by minikube "
"""How a file of this command begins; only such files are overwritten."""


@dataclass(frozen=True)
class ExportCommandOptions:
    """The arguments and options of `minikube export`. `minikube.export.ExportOptions` has those that select the content."""

    tool: str
    """`compose` or `kubernetes`."""
    output: str | None
    """A file or a directory; None: standard output."""
    images: tuple[str, ...]
    """`NAME=REF`."""
    profiles: tuple[str, ...]
    with_secrets: bool
    manifest: tuple[str, ...]

    def directory(self) -> Path:
        """Return the directory of the written files; paths in the files are relative to it."""
        if self.output is None:
            return Path.cwd()
        return Path(self.output) if _is_directory(self.output) else Path(self.output).parent


@click.command(epilog="Then run `docker compose up`, or `kubectl apply -f PATH`.")
@click.argument("tool", type=click.Choice(["compose", "kubernetes"]))
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Write to this file, or to several files in this directory.  [default: standard output]",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME=REF",
    help="Use this image for a service, for redis or for registry; may be given again.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    help="Kubernetes: also write the services of this profile; may be given again.",
)
@click.option("--with-secrets", is_flag=True, help="Write the values of secrets; without it, placeholders are written.")
@manifest_argument
@pass_options(ExportCommandOptions)
def export_command(options: ExportCommandOptions) -> None:
    """Write the manifest as files for Compose or Kubernetes.

    Keys of the manifest that have no counterpart there are listed, on standard error and in the files.
    """
    from minikube.export import ExportOptions, plan_export
    from minikube.manifest import load_manifest

    source = manifest_files(options.manifest)
    manifest = load_manifest(source)
    for warning in manifest.warnings:
        print_message(f"warning: {warning}")
    export_options = ExportOptions(
        _parse_images(options.images),
        frozenset(options.profiles),
        options.with_secrets,
        options.directory().resolve(),
    )
    plan = plan_export(manifest, export_options)
    files = _render_files(plan, options, source)
    if options.output is None:
        click.echo("".join(files.values()), nl=False)
    else:
        _write_files({Path(name): text for name, text in files.items()}, private=options.with_secrets)
    for note in plan.notes:
        print_message(str(note))
    if options.output is not None:
        print_message(f"wrote {', '.join(files)}")


def _parse_images(pairs: Iterable[str]) -> dict[str, str]:
    """Return image references by service, from texts `NAME=REF`. Raises UsageError."""
    images: dict[str, str] = {}
    for pair in pairs:
        name, equals, reference = pair.partition("=")
        if not (name and equals and reference) or any(character.isspace() for character in reference):
            raise UsageError(f"--image: expected NAME=REF, such as product=registry.local/product:1, got {pair!r}")
        images[name] = reference
    return images


def _render_files(plan: ExportPlan, options: ExportCommandOptions, source: ManifestFiles) -> dict[str, str]:
    """Return the texts of the files by path; the path is empty for standard output.

    The plan's notes, about keys that cannot be exported, are in the first file.
    """
    from minikube import __version__
    from minikube.export import Document, compose_documents, kubernetes_documents, to_yaml

    documents = compose_documents(plan) if options.tool == "compose" else kubernetes_documents(plan)
    names = [shlex.quote(path.name) for path in source.existing()]
    given = names[0] if len(names) == 1 else " ".join(f"-m {name}" for name in names)
    head = f"Made by minikube {__version__}: minikube export {options.tool} {given}"
    if options.output is None or not _is_directory(options.output):
        return {options.output or "": to_yaml(documents, plan.notes, head)}
    by_file: dict[str, list[Document]] = {}
    for document in documents:
        by_file.setdefault(document.file, []).append(document)
    return {
        str(Path(options.output, name)): to_yaml(group, plan.notes if index == 0 else [], head)
        for index, (name, group) in enumerate(by_file.items())
    }


def _is_directory(output: str) -> bool:
    """Return whether `--output` means a directory: it ends with a slash, is a directory, or has no file extension."""
    return output.endswith(os.sep) or Path(output).is_dir() or not Path(output).suffix


def _write_files(files: dict[Path, str], *, private: bool) -> None:
    """Write texts to files by path; with `private`, readable by their owner only.

    Raises UsageError, before the first is written, where a file exists that `minikube export` did not write.
    """
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
