"""Replacing this process by a command that runs as a service would: its environment, directory, user, umask and limits.

`execve` leaves no process of minikube in between: the command has the terminal, receives the signals, and its exit code is
what the caller sees. In a container, the process becomes the engine's `exec`. It refuses to choose what to run: the
commands `run`, `exec` and `shell` do.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from minikube.cli.common import print_message
from minikube.cli.exit_codes import COMMAND_NOT_FOUND, NOT_EXECUTABLE
from minikube.errors import MinikubeError, UsageError

if TYPE_CHECKING:
    from minikube.linux.exec_context import ExecContext
    from minikube.manifest import Manifest, ServiceSpec
    from minikube.model import InstanceView, Snapshot
    from minikube.project.instance_ports import InstancePorts

ENGINE_TIMEOUT_S = 5.0


def execute_on_host(
    manifest: Manifest,
    snapshot: Snapshot | None,
    spec: ServiceSpec,
    instance: InstanceView | None,
    command: Sequence[str],
    variables: Sequence[str],
) -> NoReturn:
    """Replace this process by a command that has the environment, user, directory and limits of a service.

    Without `command`, it is the service's own. `instance` is a running instance, whose port and id are used; None for
    none. `snapshot` is None where no supervisor runs. `variables` are texts `NAME=VALUE`. Raises MinikubeError when the
    user, directory or limits of the service cannot be used.
    """
    from minikube.linux import processes
    from minikube.linux.credentials import find_credentials, login_environment
    from minikube.linux.rlimits import to_rlimits
    from minikube.manifest import fill_instance_variables
    from minikube.project.environment import instance_environment, project_environment, redis_address
    from minikube.project.registry_tokens import run_token_id
    from minikube.project_dir import project_dir

    registry = snapshot.registry if snapshot else str(manifest.registry.listen)
    redis = redis_address(manifest, project_dir(manifest.path))
    user = spec.user or _project_user(project_dir(manifest.path))
    base = project_environment(manifest, os.environ, registry, redis) | login_environment(user)
    id = instance.id if instance else secrets.token_hex(4)
    # exec(2) keeps the pid and the start time: by them the registry sees that the command has ended.
    pid = os.getpid()
    token_id = instance.id if instance else run_token_id(pid, processes.start_time(pid), id)
    token = _registry_token(project_dir(manifest.path), spec, token_id)
    ports, replica = _ports(spec, instance), _replica(spec, instance)
    env = instance_environment(base, spec, id, spec.host, ports, token, replica) | parse_variables(variables)
    try:
        argv = tuple(command) or tuple(fill_instance_variables(word, env) for word in spec.argv)
    except ValueError as error:  # `${PORT:?message}` without a port
        raise MinikubeError(f"{spec.name}: {error}") from None
    credentials = find_credentials(spec.name, user, spec.group)
    context = _context(argv, env, str(spec.cwd))._replace(
        umask=spec.umask,
        rlimits=tuple((name, number, *pair) for name, number, pair in to_rlimits(spec.limits)),
        user=credentials.user,
        group=credentials.group,
        groups=credentials.groups,
    )
    _replace_process(context, spec)


def _project_user(directory: Path) -> str:
    """Return the user and group that a project belongs to, as `1000:1000`, where root uses another user's; empty otherwise.

    `directory` is the project's `.minikube`. Its services run as that user, and files that root made would be in their way.
    """
    try:
        found = directory.stat()
    except OSError:
        return ""
    return f"{found.st_uid}:{found.st_gid}" if os.geteuid() == 0 and found.st_uid != 0 else ""


def execute_in_container(
    manifest: Manifest, instance: InstanceView, command: Sequence[str], variables: Sequence[str]
) -> NoReturn:
    """Replace this process by the engine's `exec`, which runs a command (by default /bin/sh) in an instance's container.

    `variables` are texts `NAME=VALUE`.
    """
    from minikube.engine.command import client_environment, container_name, find_engine
    from minikube.project_dir import project_dir

    engine = find_engine(manifest.containers.engine, project_dir(manifest.path), os.environ.get("PATH"))
    argv = [engine.program, "exec", "--interactive"]
    if sys.stdin.isatty() and sys.stdout.isatty():
        argv.append("--tty")
    values = parse_variables(variables)
    for name in values:
        argv += ["--env", name]  # the value is in the engine's environment: other users can read a command line
    argv.append(container := container_name(manifest.name, engine.mark, instance.name))
    if (
        command
        and not (instance.pid and _is_in_root(instance.pid, command[0]))
        and _is_missing(engine.program, container, command[0])
    ):
        print_message(f"command not found in {instance.name}'s container: {command[0]}")
        sys.exit(COMMAND_NOT_FOUND)
    environment = {**client_environment(os.environ), **values}
    words = [*argv, *(command or ("/bin/sh",))]
    _replace_process(_context(words, environment, os.getcwd()), None)


def parse_variables(variables: Sequence[str]) -> dict[str, str]:
    """Return the variables by name from texts `NAME=VALUE`. Raises UsageError."""
    values = {}
    for text in variables:
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            raise UsageError(f"--env: expected NAME=VALUE, got {name!r}")
        values[name] = value
    return values


def _is_in_root(pid: int, program: str) -> bool:
    """Return whether the file system of process `pid`, which is in a container, has `program` on its PATH.

    No process is started for it. It may be wrong where symbolic links lead out of the container's root.
    """
    from minikube.linux import processes

    path = processes.environment(pid).get("PATH") or os.defpath
    directories = ("",) if "/" in program else path.split(":")
    root = Path("/proc", str(pid), "root")
    return any(os.path.lexists(f"{root}/{directory}/{program}") for directory in directories)


def _is_missing(engine: str, container: str, program: str) -> bool:
    """Return whether a shell in the container does not find `program`. False where the container has no shell."""
    from minikube.engine.command import client_environment
    from minikube.linux.commands import run_command

    argv = [engine, "exec", container, "/bin/sh", "-c", 'command -v "$1" || echo missing', "sh", program]
    result = run_command(argv, timeout=ENGINE_TIMEOUT_S, env=client_environment(os.environ))
    return result.status == 0 and result.stdout == "missing\n"


def _registry_token(directory: Path, spec: ServiceSpec, id: str) -> str:
    """Return the command's token for the project's registry; empty where the project has never run."""
    from minikube.control.client.endpoint import read_token
    from minikube.project.registry_tokens import instance_token, supervisor_token

    try:
        return instance_token(supervisor_token(read_token(directory)), spec.name, id)
    except MinikubeError:
        return ""


def _ports(spec: ServiceSpec, instance: InstanceView | None) -> InstancePorts:
    """Return the ports for the variables: the instance's, else the service's, each free one chosen now.

    A port that the manifest says is not looked at: the command may run beside the service.
    """
    from msgspec.structs import replace

    from minikube.project.instance_ports import InstancePorts, choose_ports, fixed_ports

    if instance:
        main = int(instance.address.rpartition(":")[2]) if instance.address else spec.port
        return InstancePorts(main, instance.ports)
    fixed = fixed_ports(spec)
    chosen = {name: port for name, port in spec.ports.items() if not port.port}
    free = choose_ports(replace(spec, port=0, ports=chosen), InstancePorts(), fixed.used(spec))
    return InstancePorts(fixed.main or free.main, {**fixed.named, **free.named})


def _replica(spec: ServiceSpec, instance: InstanceView | None) -> int:
    """Return the number for the variable REPLICA: the instance's, else 1."""
    number = instance.name.removeprefix(f"{spec.name}-") if instance else ""
    return int(number) if number.isdecimal() else 1


def _context(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> ExecContext:
    from minikube.linux.exec_context import ExecContext

    encoded = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    return ExecContext(tuple(os.fsencode(word) for word in argv), encoded, os.fsencode(cwd))


def _replace_process(context: ExecContext, spec: ServiceSpec | None) -> NoReturn:
    """Replace this process by a program (exec). Where that fails, print why and exit with the code of a shell: 126 or 127.

    Raises MinikubeError when the user, directory or limits of the service cannot be used. `spec` is None in a container.
    """
    # All imports before the user is changed: the new one may not be allowed to read this program's files.
    from minikube.linux.exec_context import ExecFailure, execute, set_attributes
    from minikube.linux.program_file import explain_refusal
    from minikube.linux.rlimits import describe_excess, to_rlimits
    from minikube.linux.signal_actions import reset_signals

    sys.stdout.flush()
    sys.stderr.flush()
    # What the shell has ignored stays so: `nohup minikube run …` goes on when the terminal is closed, and Ctrl-C does not end
    # a command that a script runs in the background. Python itself ignores PIPE and XFSZ.
    reset_signals(kept={*signal.Signals} - {signal.SIGPIPE, signal.SIGXFSZ})
    name = os.fsdecode(context.argv[0])
    try:
        if spec is not None:
            set_attributes(context)
        execute(context.argv, context.env)
    except ExecFailure as failure:
        if spec is not None and failure.stage != "exec":
            excess = describe_excess(to_rlimits(spec.limits)) if failure.stage == "limit" else ""
            file = "working directory " if failure.stage == "directory" else ""
            file += f"{failure.path}: " if failure.path else ""
            raise MinikubeError(f"{spec.name}: {excess or file + os.strerror(failure.errno).lower()}") from None
        if failure.errno == errno.ENOENT and not failure.path:
            print_message(f"command not found: {name} — install it, or give its path")
        else:
            print_message(f"cannot execute {name}: {explain_refusal(Path(failure.path or name), failure.errno)}")
        sys.exit(COMMAND_NOT_FOUND if failure.errno == errno.ENOENT else NOT_EXECUTABLE)
