"""Building images (floor 4): `build`, and what `up --build` does first. Nothing needs to run for it but the engine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from minikube.cli.common import manifest_option, manifest_path, note
from minikube.cli.completion import complete_services
from minikube.defaults import DEFAULT_FILE
from minikube.errors import MinikubeError, NotFound
from minikube.project_dir import project_dir

if TYPE_CHECKING:
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.engine.command import Engine
    from minikube.manifest import Manifest, ServiceSpec


@click.command()
@click.argument("services", nargs=-1, shell_complete=complete_services)
@click.option("--no-cache", is_flag=True, help="Build every step anew.")
@manifest_option
def build_command(services: tuple[str, ...], no_cache: bool, manifest: str | None) -> int:
    """Build the images of SERVICES, or of all services that have `build`; the engine's lines are shown as they come."""
    from minikube.manifest import load_manifest

    loaded = load_manifest(manifest_path(manifest))
    for name in services:
        if name not in loaded.services:
            raise NotFound(f"{name}: no such service in {loaded.path} — it has {', '.join(loaded.services)}")
        if loaded.services[name].build is None:
            raise MinikubeError(f"{name}: nothing to build — set services.{name}.build")
    failures = build_images(loaded, services, no_cache=no_cache)
    if not failures:
        note(f"nothing to build: no service of {loaded.path.name or DEFAULT_FILE} has `build`")
    return 1 if any(failures.values()) else 0


def build_images(manifest: Manifest, names: tuple[str, ...] = (), *, no_cache: bool = False) -> dict[str, str]:
    """Builds the named services' images, or all: each is tried, then those that failed are told, a line each.

    By service what went wrong, empty for one that is built. Raises MinikubeError where there is no engine.
    """
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.engine.command import find_engine

    chosen = [
        spec
        for spec in manifest.services.values()
        if spec.build and (spec.name in names if names else spec.runtime == "container")
    ]
    failures: dict[str, str] = {}
    if chosen:
        engine = find_engine(manifest.containers.engine, project_dir(manifest.path), os.environ.get("PATH"))
        printer = LogPrinter(sys.stdout, [spec.name for spec in chosen])
        for spec in chosen:
            failures[spec.name] = _build(engine, manifest, spec, printer, no_cache)
    for failure in filter(None, failures.values()):
        note(failure)  # last, where the other builds' lines do not bury it
    return failures


def _build(engine: Engine, manifest: Manifest, spec: ServiceSpec, printer: LogPrinter, no_cache: bool) -> str:
    """What went wrong, in a line; empty when it is built."""
    import time

    from minikube.engine.arguments import build_arguments, image_name
    from minikube.engine.command import client_environment, error_line, is_unreachable
    from minikube.model import LogLine

    assert spec.build is not None
    tag = image_name(engine, manifest.name, spec)
    arguments, env = build_arguments(engine, spec.build, tag, os.environ, no_cache=no_cache)
    printer.note(f"building {tag}")
    last = ""
    with subprocess.Popen(
        [engine.program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**client_environment(os.environ), **env},
    ) as client:
        assert client.stdout is not None
        for raw in client.stdout:
            if line := raw.rstrip():
                last = line
                printer.line(LogLine(time.time(), spec.name, spec.name, "stdout", line))
    if client.returncode:
        hint = " — start it" if is_unreachable(last) else ""
        return f"{spec.name}: build of {spec.build.context} failed: {error_line(last)}{hint}"
    printer.note(f"built {tag}")
    return ""
