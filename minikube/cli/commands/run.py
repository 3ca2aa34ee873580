"""`run`, `exec`, `shell` (floor 4): a command with a service's environment, directory, user, umask and limits.

This process becomes the command (execve): terminal, signals and exit code are its own, and nothing of ours stays
between. In a container `exec` and `shell` become its engine's `exec`; `run` refuses one, whose programs are not here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from minikube.cli.common import manifest_option, manifest_path, note
from minikube.cli.completion import complete_names
from minikube.errors import MinikubeError, NotFound, NothingRunning, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minikube.manifest import Manifest, ServiceSpec
    from minikube.model import InstanceView, Snapshot

LOOK_S = 5.0

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell that could not run a command."""

FREE_WORDS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""What follows the service's name is the command's, options included; a manifest may stand before it."""


@click.command(context_settings=FREE_WORDS)
@click.argument("service", shell_complete=complete_names)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Another variable, or another value."
)
@manifest_option
def run_command(service: str, command: tuple[str, ...], variables: tuple[str, ...], manifest: str | None) -> NoReturn:
    """Run a command once, in the foreground, as SERVICE would be run: minikube run SERVICE -- COMMAND...

    Without COMMAND, SERVICE's own is run: minikube run SERVICE. It gets SERVICE's environment (an INSTANCE_ID of its
    own), directory, user, umask and limits; its exit code is ours. Nothing has to run, and nothing is started for it.
    """
    command, manifest, variables = _late_options(command, manifest, variables)
    from minikube.project.orphans import RUN_MARK
    from minikube.project_dir import project_dir

    loaded, snapshot = _look(manifest)
    mark = f"{RUN_MARK}={project_dir(loaded.path)}"
    _become(loaded, snapshot, _spec(loaded, service), None, command, (*variables, mark))


@click.command(context_settings=FREE_WORDS)
@click.argument("name", shell_complete=complete_names)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Another variable, or another value."
)
@manifest_option
def exec_command(name: str, command: tuple[str, ...], variables: tuple[str, ...], manifest: str | None) -> NoReturn:
    """Run a command beside a running instance: minikube exec NAME -- COMMAND... ($SHELL without one).

    NAME is a service, an instance or an instance's id. As `run`, with that instance's PORT and INSTANCE_ID.
    """
    command, manifest, variables = _late_options(command, manifest, variables)
    loaded, snapshot = _look(manifest)
    if snapshot is None:
        path = manifest_path(manifest)
        advice = "`minikube up` starts it"
        if service := _own_service(loaded, name):
            advice = f"`minikube run {service} -- COMMAND` needs nothing running"
        raise NothingRunning(f"{path}: nothing is running — {advice}")
    instance = _instance(snapshot, name)
    if instance is None:
        service = _own_service(loaded, name)
        advice = f", or use `minikube run {service} -- COMMAND`" if service else ""
        raise MinikubeError(f"{name}: no instance is running — `minikube start {name}` starts it{advice}")
    _join(loaded, snapshot, instance, command, variables)


@click.command()
@click.argument("name", shell_complete=complete_names)
@manifest_option
def shell_command(name: str, manifest: str | None) -> NoReturn:
    """Open $SHELL with the environment and in the directory of a service: of a running instance where there is one."""
    loaded, snapshot = _look(manifest)
    instance = _instance(snapshot, name) if snapshot else None
    if snapshot and instance:
        _join(loaded, snapshot, instance, (), ())
    _become(loaded, snapshot, _spec(loaded, name), None, _shell(), ())


def _join(
    manifest: Manifest, snapshot: Snapshot, instance: InstanceView, command: Sequence[str], variables: Sequence[str]
) -> NoReturn:
    """A command (or a shell) beside a running instance, in its container where it has one."""
    spec = manifest.services.get(instance.service)
    if spec is None or spec.runtime == "process":
        _become(manifest, snapshot, _spec(manifest, instance.service), instance, command or _shell(), variables)
    from minikube.engine.engine import client_environment, container_name, find_engine
    from minikube.project_dir import project_dir

    engine = find_engine(manifest.containers.engine, project_dir(manifest.path), os.environ.get("PATH"))
    words = [engine.program, "exec", "--interactive"]
    if sys.stdin.isatty() and sys.stdout.isatty():
        words.append("--tty")
    for name in (given := _given(variables)):
        words += ["--env", name]
    words.append(container := container_name(manifest.name, engine.mark, instance.name))
    if command and not _is_in(instance.pid, command[0]) and _is_missing(engine.program, container, command[0]):
        note(f"command not found in {instance.name}'s container: {command[0]}")
        sys.exit(NOT_FOUND)
    _exec([*words, *(command or ("/bin/sh",))], {**client_environment(os.environ), **given})


def _is_in(pid: int, program: str) -> bool:
    """Whether a first look at the container's files finds it; that costs nothing, and may be wrong where links lead."""
    from minikube.linux import processes as tree

    path = tree.environment(pid).get("PATH") or os.defpath
    places = ("",) if "/" in program else path.split(":")
    return any(os.path.lexists(f"/proc/{pid}/root/{place}/{program}") for place in places)


def _is_missing(engine: str, container: str, program: str) -> bool:
    """Whether a shell in there knows no such program. Without one, and where anything else goes wrong, nobody can tell."""
    import subprocess

    words = [engine, "exec", container, "/bin/sh", "-c", 'command -v "$1" || echo missing', "sh", program]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOOK_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout == "missing\n"


def _shell() -> tuple[str, ...]:
    return (os.environ.get("SHELL") or "/bin/sh",)


def _look(manifest: str | None) -> tuple[Manifest, Snapshot | None]:
    """The manifest as it is now, and the board where something runs."""
    from minikube.control.client.blocking import ControlClient, find_supervisor
    from minikube.manifest import load_manifest

    path = manifest_path(manifest)
    loaded = load_manifest(path)
    try:
        with ControlClient(find_supervisor(path)) as client:
            return loaded, client.status()
    except NothingRunning:
        return loaded, None


def _spec(manifest: Manifest, name: str) -> ServiceSpec:
    if name not in manifest.services:
        from minikube.manifest.diagnostics import did_you_mean

        hint = did_you_mean(name, list(manifest.services)) or f" (there are: {', '.join(manifest.services) or 'none'})"
        raise NotFound(f"{name}: no such service in {manifest.path.name}{hint}")
    spec = manifest.services[name]
    if spec.runtime == "container":
        raise UsageError(f"{name}: runs in a container, whose programs are not here — `minikube exec` while it runs")
    return spec


def _own_service(manifest: Manifest, name: str) -> str:
    """The service of that name or of that replica, where `run` can run it: empty for containers and who is not known."""
    service, _, number = name.rpartition("-")
    spec = manifest.services.get(name) or (manifest.services.get(service) if number.isdecimal() else None)
    return spec.name if spec and spec.runtime == "process" else ""


def _instance(snapshot: Snapshot, name: str) -> InstanceView | None:
    """The running instance meant, one that passes first. Raises NotFound for a name that nobody has."""
    known = [one for one in snapshot.instances if name in (one.service, one.name, one.id)]
    if not known and all(service.name != name for service in snapshot.services):
        raise NotFound(f"{name}: no such service or instance — `minikube ps` lists them")
    alive = [one for one in known if one.pid]
    return min(alive, key=lambda one: one.check != "passing", default=None)


def _late_options(
    words: tuple[str, ...], manifest: str | None, variables: tuple[str, ...]
) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """The command, manifest and variables: options right behind the name are ours, as no command starts with a dash."""
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        option, equals, value = rest.pop(0).partition("=")
        if not option.startswith("--") and len(option) > 2:
            option, equals, value = option[:2], "=", option[2:] + equals + value
        if option not in ("-m", "--manifest", "-e", "--env"):
            raise UsageError(f"{option}: no such option, and no command — what follows a -- is the command")
        if not equals and not rest:
            raise UsageError(f"{option}: expected a value")
        value = value if equals else rest.pop(0)
        if option in ("-m", "--manifest"):
            manifest = value
        else:
            variables = (*variables, value)
    return tuple(rest[1:] if rest[:1] == ["--"] else rest), manifest, variables


def _become(
    manifest: Manifest,
    snapshot: Snapshot | None,
    spec: ServiceSpec,
    instance: InstanceView | None,
    command: Sequence[str],
    variables: Sequence[str],
) -> NoReturn:
    from minikube.linux.credentials import login_environment, rights_of
    from minikube.manifest import fill_instance_variables
    from minikube.project.environment import instance_environment, project_environment, redis_address
    from minikube.project_dir import project_dir

    registry = snapshot.registry if snapshot else str(manifest.registry.listen)
    redis = redis_address(manifest, project_dir(manifest.path))
    base = project_environment(manifest, os.environ, registry, redis) | login_environment(spec.user)
    id = instance.id if instance else secrets.token_hex(4)
    env = instance_environment(base, spec, id, spec.host, _port(spec, instance)) | _given(variables)
    argv = tuple(command) or tuple(fill_instance_variables(word, env) for word in spec.command)
    who = rights_of(spec.name, spec.user, spec.group)
    _limit(spec)
    try:
        if who.groups is not None:
            os.setgroups(who.groups)
        if who.group is not None:
            os.setgid(who.group)
        if who.user is not None:
            os.setuid(who.user)
        if spec.umask >= 0:
            os.umask(spec.umask)
        os.chdir(spec.cwd)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        raise MinikubeError(f"{spec.name}: {what}{(error.strerror or str(error)).lower()}") from None
    _exec(argv, env)


def _port(spec: ServiceSpec, instance: InstanceView | None) -> int:
    if instance and instance.address:
        return int(instance.address.rpartition(":")[2])
    if spec.auto_port:
        from minikube.linux.ports import choose_port

        return choose_port(spec, 0, frozenset())
    return spec.port


def _given(variables: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in variables:
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            raise UsageError(f"--env: expected NAME=VALUE, got {name!r}")
        found[name] = value
    return found


def _limit(spec: ServiceSpec) -> None:
    from minikube.linux.rlimits import limit_self, rlimits, too_high

    limits = rlimits(spec.limits)
    try:
        limit_self(limits)
    except (OSError, ValueError) as error:
        raise MinikubeError(f"{spec.name}: {too_high(limits) or error}") from None


def _exec(argv: Sequence[str], env: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two, its children must not
        signal.signal(number, signal.SIG_DFL)
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None and "/" not in argv[0]:
        note(f"command not found: {argv[0]}")
        sys.exit(NOT_FOUND)
    try:
        os.execve(program or argv[0], list(argv), env)
    except FileNotFoundError:
        note(f"{argv[0]}: its #! line names no program" if program else f"command not found: {argv[0]}")
        sys.exit(NOT_FOUND)
    except OSError as error:
        note(f"{argv[0]}: {(error.strerror or str(error)).lower()}")
        sys.exit(NOT_EXECUTABLE)
