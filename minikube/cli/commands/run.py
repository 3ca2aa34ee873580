"""`run`, `exec` and `shell`: find the service or instance and the command; `cli.execute` then replaces this process by it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from minikube.cli.common import manifest_files, manifest_path, other_running_files
from minikube.cli.completion import complete_single_names
from minikube.cli.execute import execute_in_container, execute_on_host
from minikube.cli.options import is_from_environment, manifest_option, pass_options
from minikube.control.client.names import own_services
from minikube.errors import MinikubeError, NotFound, NothingRunning, UsageError
from minikube.project.selection.groups import single_name

if TYPE_CHECKING:
    from minikube.manifest import Manifest, ServiceSpec
    from minikube.model import InstanceView, Snapshot

COMMAND_FOLLOWS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Words after the first argument are the command to run, its options included."""


@dataclass(frozen=True)
class RunOptions:
    """The arguments and options of `run` and `exec`."""

    name: str
    """`run`: a service; `exec`: a service, an instance or an id."""
    command: tuple[str, ...]
    variables: tuple[str, ...]
    """`NAME=VALUE`."""
    manifest: tuple[str, ...]


class Project(NamedTuple):
    """The manifest, and the status of the running project; `snapshot` is None where no supervisor runs."""

    manifest: Manifest
    snapshot: Snapshot | None


env_option = click.option(
    "-e",
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a variable for the command; may be given again.",
)


@click.command(context_settings=COMMAND_FOLLOWS)
@click.argument("name", metavar="SERVICE", shell_complete=complete_single_names)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@env_option
@manifest_option
@pass_options(RunOptions)
def run_command(options: RunOptions) -> NoReturn:
    """Run a command once, with the environment of SERVICE: minikube run SERVICE -- COMMAND...

    The command runs in the foreground, and also gets the directory, user, umask and limits of SERVICE; its INSTANCE_ID is
    a new one. Without COMMAND, the command of SERVICE itself is run. The project need not be running, and no other service
    is started. The exit code is that of the command.
    """
    options = take_late_options(options)
    from minikube.project.orphans import RUN_ENV
    from minikube.project_dir import project_dir

    manifest, snapshot = read_project(options.manifest)
    name = single_name(tuple(manifest.services.values()), options.name)
    mark = f"{RUN_ENV}={project_dir(manifest.path)}"  # `down` finds the command by this variable
    spec = _find_service(manifest, name)
    execute_on_host(manifest, snapshot, spec, None, options.command, (*options.variables, mark))


@click.command(context_settings=COMMAND_FOLLOWS)
@click.argument("name", shell_complete=complete_single_names)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@env_option
@manifest_option
@pass_options(RunOptions)
def exec_command(options: RunOptions) -> NoReturn:
    """Run a command beside a running instance: minikube exec NAME -- COMMAND...

    NAME is a service, an instance or the id of an instance. The command gets the environment of that instance, with its
    PORT and INSTANCE_ID, and runs in its container, where it has one. Without COMMAND, a shell is opened.
    """
    options = take_late_options(options)
    manifest, snapshot = read_project(options.manifest)
    options = replace(options, name=_single_name(manifest, snapshot, options.name))
    if snapshot is None:
        advice = "`minikube up` starts it"
        if service := _service_for_run(manifest, options.name):
            advice = f"`minikube run {service} -- COMMAND` needs no running project"
        raise NothingRunning(f"{manifest_path(options.manifest)}: nothing is running — {advice}")
    instance = _find_instance(snapshot, options.name)
    if instance is None:
        service = _service_for_run(manifest, options.name)
        advice = f", or use `minikube run {service} -- COMMAND`" if service else ""
        raise MinikubeError(
            f"{options.name}: no instance is running — `minikube start {options.name}` starts it{advice}"
        )
    _execute_beside(manifest, snapshot, instance, options.command, options.variables)


@click.command()
@click.argument("name", shell_complete=complete_single_names)
@manifest_option
def shell_command(name: str, manifest: tuple[str, ...]) -> NoReturn:
    """Open $SHELL with the environment and in the directory of NAME.

    NAME is a service, an instance or the id of an instance. The environment is that of a running instance, where there is
    one, and the shell is in its container, where it has one.
    """
    project = read_project(manifest)
    name = _single_name(project.manifest, project.snapshot, name)
    instance = _find_instance(project.snapshot, name) if project.snapshot else None
    if project.snapshot and instance:
        _execute_beside(project.manifest, project.snapshot, instance, (), ())
    spec = _find_service(project.manifest, name)
    execute_on_host(project.manifest, project.snapshot, spec, None, _user_shell(), ())


def _single_name(manifest: Manifest, snapshot: Snapshot | None, name: str) -> str:
    """Return `name`, or the only service of a group: of the running manifest, where one runs. Raises NotFound and UsageError."""
    return single_name(own_services(snapshot) if snapshot else tuple(manifest.services.values()), name)


def read_project(manifest: tuple[str, ...]) -> Project:
    """Return the manifest as it is now, and the supervisor's snapshot or None where no supervisor runs.

    Raises ManifestError, and UsageError where another manifest of the directory runs.
    """
    from minikube.control.client.blocking import ControlClient, find_supervisor
    from minikube.manifest import load_manifest

    files = manifest_files(manifest)
    if (running := other_running_files(files)) is not None:
        # Not the running one in its place: the command might do in one what was meant for the other.
        raise UsageError(
            f"{files}: is not the manifest that runs here, {running} is"
            " — leave out --manifest, or end that project first: minikube down"
        )
    loaded = load_manifest(files)
    try:
        with ControlClient(find_supervisor(files.first)) as client:
            return Project(loaded, client.status())
    except NothingRunning:
        return Project(loaded, None)


def take_late_options(options: RunOptions) -> RunOptions:
    """Return `options` after moving `-m` and `-e` from the beginning of `options.command` to their own fields.

    click leaves options behind the name in the command, but no command begins with a dash. Raises UsageError.
    """
    words = list(options.command)
    manifest, variables = options.manifest, options.variables
    context = click.get_current_context(silent=True)
    from_environment = context is not None and is_from_environment(context, "manifest")
    while words and words[0].startswith("-") and words[0] != "--":
        option, equals, value = words.pop(0).partition("=")
        if not option.startswith("--") and len(option) > 2:  # `-mFILE`
            option, equals, value = option[:2], "=", option[2:] + equals + value
        if option not in ("-m", "--manifest", "-e", "--env"):
            raise UsageError(f"{option}: no such option — write -- before a command that begins with a dash")
        if not equals and not words:
            raise UsageError(f"{option}: expected a value")
        value = value if equals else words.pop(0)
        if option in ("-m", "--manifest"):
            manifest = (value,) if from_environment else (*manifest, value)
            from_environment = False
        else:
            variables = (*variables, value)
    command = tuple(words[1:] if words[:1] == ["--"] else words)
    return replace(options, command=command, manifest=manifest, variables=variables)


def _execute_beside(
    manifest: Manifest,
    snapshot: Snapshot,
    instance: InstanceView,
    command: tuple[str, ...],
    variables: tuple[str, ...],
) -> NoReturn:
    """Replace this process by `command` with the environment of a running instance, in its container where it has one.

    Without a command, run a shell.
    """
    spec = manifest.services.get(instance.service)
    if spec is not None and spec.runtime == "container":
        execute_in_container(manifest, instance, command, variables)
    spec = _find_service(manifest, instance.service)
    execute_on_host(manifest, snapshot, spec, instance, command or _user_shell(), variables)


def _user_shell() -> tuple[str, ...]:
    return (os.environ.get("SHELL") or "/bin/sh",)


def _find_service(manifest: Manifest, name: str) -> ServiceSpec:
    """Return the spec of a service. Raises NotFound for an unknown name, UsageError for a service that is a container."""
    if name not in manifest.services:
        from minikube.manifest.diagnostics import did_you_mean

        hint = did_you_mean(name, list(manifest.services)) or f" (there are: {', '.join(manifest.services) or 'none'})"
        raise NotFound(f"{name}: no such service in {manifest.path.name}{hint}")
    spec = manifest.services[name]
    if spec.runtime == "container":
        raise UsageError(
            f"{name}: runs in a container, whose programs are not on this machine"
            " — use `minikube exec` while it is running"
        )
    return spec


def _service_for_run(manifest: Manifest, name: str) -> str:
    """Return the service of `name`, which is a service or a replica such as `web-2`.

    Empty for an unknown name and for a container, which `minikube run` cannot run.
    """
    service, _, number = name.rpartition("-")
    spec = manifest.services.get(name) or (manifest.services.get(service) if number.isdecimal() else None)
    return spec.name if spec and spec.runtime == "process" else ""


def _find_instance(snapshot: Snapshot, name: str) -> InstanceView | None:
    """Return a running instance of the service or instance `name`, preferably a passing one; None where none runs.

    Raises NotFound for an unknown name.
    """
    matching = [view for view in snapshot.instances if name in (view.service, view.name, view.id)]
    if not matching and all(service.name != name for service in snapshot.services):
        raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")
    # A container may have no known pid: a rootless engine without control groups reports none.
    containers = {service.name for service in snapshot.services if service.kind == "container"}
    running = [view for view in matching if view.pid or (view.service in containers and view.state.has_process)]
    return min(running, key=lambda view: view.check != "passing", default=None)
