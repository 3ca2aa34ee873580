"""`build`: the container images of services; `up --build` calls `build_images` first. Only the engine must be running."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from minikube.cli.common import manifest_files, print_message
from minikube.cli.completion import complete_services
from minikube.cli.options import manifest_option
from minikube.defaults import DEFAULT_FILE
from minikube.errors import MinikubeError, NotFound
from minikube.project.selection.groups import expand_names
from minikube.project_dir import project_dir

if TYPE_CHECKING:
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.engine.command import Engine
    from minikube.manifest import Manifest, ServiceSpec


@click.command()
@click.argument("services", nargs=-1, shell_complete=complete_services)
@click.option("--no-cache", is_flag=True, help="Run all build steps again, without the engine's cache.")
@manifest_option
def build_command(services: tuple[str, ...], no_cache: bool, manifest: tuple[str, ...]) -> int:
    """Build the container images of SERVICES, by default of all services with a `build` key.

    The output of the container engine is printed. When a build fails, the others are still built, and the exit code is 1.
    """
    from minikube.manifest import load_manifest
    from minikube.manifest.diagnostics import join_words

    loaded = load_manifest(manifest_files(manifest))
    specs = tuple(loaded.services.values())
    selected = expand_names(specs, services)
    for name in selected:
        if name not in loaded.services:
            raise NotFound(f"{name}: no such service in {loaded.path} — it has {', '.join(loaded.services)}")
        # Of a group, those that have a build are built.
        if loaded.services[name].build is None and name in services:
            raise MinikubeError(f"{name}: nothing to build — set services.{name}.build")
    if services and not any(loaded.services[name].build for name in selected):
        raise MinikubeError(f"{join_words(services, 'and')}: nothing to build — no service of it has `build`")
    failures = build_images(loaded, selected, no_cache=no_cache)
    if not failures:
        print_message(f"nothing to build: no service of {loaded.path.name or DEFAULT_FILE} has `build`")
    return 1 if any(failures.values()) else 0


def build_images(manifest: Manifest, names: tuple[str, ...] = (), *, no_cache: bool = False) -> dict[str, str]:
    """Build the images of the services `names`, or of all services with a build; print the engine's output.

    Return the reason of failure by service, empty for a success; print a line for each failure at the end. Raises
    MinikubeError where there is no engine.
    """
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.engine.command import find_engine

    selected = [
        spec
        for spec in manifest.services.values()
        if spec.build and (spec.name in names if names else spec.runtime == "container")
    ]
    failures: dict[str, str] = {}
    if selected:
        engine = find_engine(manifest.containers.engine, project_dir(manifest.path), os.environ.get("PATH"))
        printer = LogPrinter(sys.stdout, [spec.name for spec in selected])
        for spec in selected:
            failures[spec.name] = _build_image(engine, manifest, spec, printer, no_cache)
    # At the end, where the output of later builds does not bury them.
    for failure in filter(None, failures.values()):
        print_message(failure)
    return failures


def _build_image(engine: Engine, manifest: Manifest, spec: ServiceSpec, printer: LogPrinter, no_cache: bool) -> str:
    """Build the image of one service and print the engine's output; return why it failed, empty for a success."""
    from minikube.engine.arguments import build_arguments, image_name
    from minikube.engine.command import client_environment, error_line, is_unreachable
    from minikube.linux.commands import run_command
    from minikube.model import LogLine

    assert spec.build is not None
    tag = image_name(engine, manifest.name, spec)
    arguments, env = build_arguments(engine, spec.build, tag, os.environ, no_cache=no_cache)
    printer.message(f"building {tag}")
    last_line = ""

    def print_line(line: str) -> None:
        nonlocal last_line
        if line := line.rstrip():
            last_line = line
            printer.line(LogLine(time.time(), spec.name, spec.name, "stdout", line))

    environment = {**client_environment(os.environ), **env}
    result = run_command([engine.program, *arguments], timeout=None, env=environment, on_line=print_line)
    if result.status != 0:
        reason = result.error or last_line
        hint = " — start it" if is_unreachable(reason) else ""
        return f"{spec.name}: build of {spec.build.context} failed: {error_line(reason)}{hint}"
    printer.message(f"built {tag}")
    return ""
