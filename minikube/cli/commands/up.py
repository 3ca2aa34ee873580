"""`up`: start the services of a project, then show the dashboard, print log lines, or leave everything running.

It forks the supervisor before heavy modules are imported, because a forked process keeps their memory. What comes after the
fork is in `lifecycle.up_session`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube.cli.common import dashboard_lack, manifest_files, print_message
from minikube.cli.completion import complete_groups, complete_services
from minikube.cli.lifecycle.up_session import UpSession
from minikube.cli.options import manifest_option, pass_options, timeout_option
from minikube.errors import MinikubeError, NothingRunning, Unavailable, Unresponsive, UsageError
from minikube.project_dir import ManifestFiles
from minikube.supervisor.daemon.guardian import launch
from minikube.supervisor.launch_options import LaunchOptions

if TYPE_CHECKING:
    from minikube.manifest import Manifest


PROCFILES = ("Procfile", "Procfile.dev")


@dataclass(frozen=True)
class UpOptions:
    """The arguments and options of `up`."""

    words: tuple[str, ...]
    """`[MANIFEST] [SERVICE]...`: see `split_words`."""
    manifest: tuple[str, ...]
    detach: bool
    wait: bool
    timeout: float
    """For `wait`, in seconds."""
    plain: bool
    timestamps: bool
    build: bool
    profiles: tuple[str, ...]
    groups: tuple[str, ...]
    watch: bool
    exit_with: str
    """A service, or empty."""
    abort_on_failure: bool

    def wants_dashboard(self) -> bool:
        """Return whether to show the dashboard: stdout is a terminal that can show it, and no option asks for another output."""
        plain = self.detach or self.plain or bool(self.exit_with)
        if plain or not (sys.stdout.isatty() and sys.stdin.isatty()):
            return False
        if lack := dashboard_lack():
            print_message(f"{lack}: log lines are printed instead of the dashboard")
        return not lack


@click.command()
@click.argument("words", nargs=-1, metavar="[MANIFEST] [SERVICE]...", shell_complete=complete_services)
@partial(manifest_option, names=("-f", "--file"))
@click.option("-d", "--detach", is_flag=True, help="Return when the project is running, and leave it running.")
@click.option("--wait", is_flag=True, help="Wait until all started services are ready; fail when one cannot get ready.")
@timeout_option(default="60s", help="With --wait: stop waiting after this time.")
@click.option("--plain", is_flag=True, help="Print log lines instead of showing the dashboard.")
@click.option("-t", "--timestamps", is_flag=True, help="With --plain: print the time of each line.")
@click.option("--build", is_flag=True, help="Build container images first, also those that exist already.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    help="Also start the services of this profile (* for all); may be given again.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Start the services of this group, as @NAME does; may be given again.",
    shell_complete=complete_groups,
)
@click.option("--watch", is_flag=True, help="Apply the manifest each time it, .env or an env_file is saved.")
@click.option(
    "--exit-with", metavar="SERVICE", default="", help="Stop everything when SERVICE ends, and exit with its exit code."
)
@click.option(
    "--abort-on-failure",
    is_flag=True,
    help="Stop everything when a service fails for good, and exit with its exit code.",
)
@pass_options(UpOptions)
def up_command(options: UpOptions) -> int:
    """Start the services of MANIFEST, or only the named services and what they depend on.

    @NAME stands for the services of a group, @tag:NAME for those with a tag.

    On a terminal the dashboard is shown; otherwise, or with --plain, log lines are printed. The first Ctrl-C stops all
    services, in reverse order of their dependencies; the second one kills them.
    """
    from minikube.manifest.load import read_manifest

    if options.detach and options.exit_with:
        raise UsageError("--exit-with waits for the end of a service — leave out --detach")
    files, names = split_words(options.words, options.manifest)
    names += tuple(f"@{group.removeprefix('@')}" for group in options.groups)
    _refuse_second_run(files)
    manifest, reading = read_manifest(files)
    profiles = options.profiles or _split_profiles(os.environ.get("MINIKUBE_PROFILES", ""))
    dashboard = options.wants_dashboard()
    launch_options = LaunchOptions(
        options.detach,
        names,
        profiles,
        options.watch,
        options.exit_with,
        options.abort_on_failure,
        prints_events=not (dashboard or options.detach),
    )
    services = services_to_start(manifest, launch_options)
    from minikube.project.machine_check import find_missing_files

    missing = find_missing_files(reading, (manifest.services[name] for name in services))
    for warning in (*manifest.warnings, *missing):
        print_message(f"warning: {warning}")
    if options.build:
        launch_options = replace(launch_options, unbuilt=_build_images(manifest, services))

    session = UpSession(launch(manifest.files, launch_options), manifest.files, options.exit_with)
    with session.stop_on_signals():
        if dashboard:
            # Imported while the supervisor starts: on a second core that costs no time.
            import tui.run  # noqa: F401
        if not session.wait_started():
            return session.wait_stopped()
        wait_for = services if options.wait else ()
        if options.detach:
            return session.detach(str(files.first), wait_for, options.timeout)
        if not dashboard:
            return session.print_logs(wait_for, options.timeout, options.timestamps)
        return session.wait_ready(wait_for, options.timeout) or session.show_dashboard()


def split_words(words: tuple[str, ...], manifest: tuple[str, ...]) -> tuple[ManifestFiles, tuple[str, ...]]:
    """Return the files of the manifest and the names of services, from the arguments of `up`.

    The first word is the manifest when it looks like a path, or when it names a directory and no service of the default
    manifest. `manifest` is the value of `-m`. Raises UsageError when both are given.
    """
    # The name of a service has neither; that of a tag may have both.
    is_path = words[:1] and not words[0].startswith("@") and ("/" in words[0] or "." in words[0])
    if words and words[0] in PROCFILES and os.path.isfile(words[0]):
        raise UsageError(
            f"{words[0]}: a manifest is TOML, not a Procfile — `minikube import {words[0]}` writes one from it"
        )
    if words and not manifest and not is_path and os.path.isdir(words[0]):
        from minikube.manifest import load_manifest

        default = manifest_files()
        is_path = not default.first.is_file() or words[0] not in load_manifest(default).services
    if not is_path:
        return manifest_files(manifest), words
    if manifest:
        raise UsageError(f"{words[0]}: --manifest is given already, expected services")
    return manifest_files(words[:1]), words[1:]


def _split_profiles(text: str) -> tuple[str, ...]:
    """Return the names in the comma-separated list `text`."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def services_to_start(manifest: Manifest, options: LaunchOptions) -> tuple[str, ...]:
    """Return the names of the services that `up` starts, in the manifest's order.

    Raises UsageError for a service or profile that the manifest does not have.
    """
    from minikube.project.selection.groups import is_group
    from minikube.project.selection.profiles import check_dependencies, check_selection, select_services

    check_selection(manifest.services, options.services, options.profiles)
    check_dependencies(manifest.services, options.services, options.profiles)
    names = select_services(manifest.services, options.services, options.profiles)
    if options.exit_with:
        if is_group(options.exit_with):
            raise UsageError(f"--exit-with {options.exit_with}: expected one service, not a group")
        check_selection(manifest.services, (options.exit_with,), ())
        if options.exit_with not in names or not manifest.services[options.exit_with].replicas:
            raise UsageError(f"--exit-with {options.exit_with}: this service is not started — name it, or its profile")
    return tuple(name for name, spec in manifest.services.items() if name in names and spec.replicas)


def _build_images(manifest: Manifest, services: tuple[str, ...]) -> tuple[str, ...]:
    """Build the images of those services that have a build; return the names of the services whose build failed."""
    from minikube.cli.manifest_commands.build import build_images

    containers = tuple(name for name in services if manifest.services[name].runtime == "container")
    if not containers:
        return ()
    failed = tuple(name for name, failure in build_images(manifest, containers).items() if failure)
    if failed:
        print_message("starting the services whose images could be built — `minikube ps` explains the others")
    return failed


def _refuse_second_run(files: ManifestFiles) -> None:
    """Raise MinikubeError when a supervisor runs the project of this manifest, with this manifest or another one."""
    from minikube.control.client.endpoint import find_supervisor

    try:
        endpoint = find_supervisor(files.first)
        from minikube.control.client.blocking import ControlClient

        with ControlClient(endpoint) as client:
            client.status()
    except Unresponsive:
        raise
    except (NothingRunning, Unavailable):
        return  # one that is starting or ending has the claim on the directory: the new one waits, or refuses to start
    running = Path(endpoint.manifest).name
    other = f" with {running}" if running and running != files.first.name else ""
    raise MinikubeError(
        f"{files}: is running already{other} (pid {endpoint.pid})"
        " — `minikube dashboard` opens it, `minikube down` ends it"
    )
