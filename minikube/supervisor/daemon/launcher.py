"""The supervisor's process from the fork to trio: claim the project, clean up after an earlier run, start Redis and the registry.

Both backing services are started before trio is imported, because `up` waits for them. The next step is `daemon.run`. It
refuses to decide anything about services.
"""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from minikube.engine.leftovers import remove_leftovers
from minikube.errors import MinikubeError, StartError
from minikube.linux import processes
from minikube.linux.ports import Obstacle, find_obstacle
from minikube.manifest import HostPort
from minikube.project import orphans
from minikube.project.run_claim import RunClaim
from minikube.project_dir import RUN_END_FILE, ManifestFiles, project_dir
from minikube.supervisor.daemon.ipc import send_message
from minikube.supervisor.daemon.port_reservation import PortReservations
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.runtime.process.fork_client import ForkServer, ProcessStart
from minikube.text import printable

if TYPE_CHECKING:
    from minikube.supervisor.backing.spec import BackingSpec
    from minikube.supervisor.daemon.launch_plan import LaunchPlan


def run(
    files: ManifestFiles,
    options: LaunchOptions,
    sock: socket.socket,
    guardian_pipe: int,
    claim: RunClaim,
    fork_server: ForkServer,
) -> int:
    """Run the supervisor and return its exit code. What it leaves running, the guardian kills.

    `sock` is the connection to `up`. `guardian_pipe` reaches its end when the guardian dies. `claim` is not taken yet: another
    run is kept out for as long as the supervisor or the guardian has it. `fork_server` starts the processes.
    """
    reservations = PortReservations()
    try:
        plan = _prepare(files, options, claim, reservations)
        started = _begin_backing_services(plan, fork_server)
        # Only now: trio and the rest are imported while Redis and the registry start.
        from minikube.supervisor.daemon.log import configure_logging
        from minikube.supervisor.daemon.run import run_supervisor

        configure_logging(os.environ)
        try:
            return run_supervisor(plan, fork_server, started, sock, guardian_pipe)
        finally:
            claim.close()
    except MinikubeError as error:
        import logging

        from minikube.supervisor.daemon.log import configure_logging

        configure_logging(os.environ)
        logging.getLogger(__name__).error("%s", error)
        send_message(sock, {"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    finally:
        reservations.close()


def _prepare(
    files: ManifestFiles, options: LaunchOptions, claim: RunClaim, reservations: PortReservations
) -> "LaunchPlan":
    """Take the claim, end what an earlier run left, and return the plan of this run. Raises `MinikubeError`."""
    from minikube.manifest import load_manifest
    from minikube.project.registry_tokens import supervisor_token
    from minikube.supervisor.backing.redis import redis_spec
    from minikube.supervisor.backing.redis_data import mend_tail
    from minikube.supervisor.backing.registry import registry_spec
    from minikube.supervisor.daemon.launch_plan import LaunchPlan
    from minikube.supervisor.daemon.token_file import ensure_token

    manifest = load_manifest(files)
    directory = project_dir(manifest.path)
    claim.take()
    (directory / RUN_END_FILE).unlink(missing_ok=True)
    killed = orphans.kill_orphans(directory)
    removed, not_removed = remove_leftovers(directory)
    # Orphans become children of the supervisor, which knows their owners; of the guardian only when the supervisor is dead.
    processes.become_subreaper()
    # Every process of the run inherits this variable: `orphans` recognizes them by it.
    os.environ[orphans.PROJECT_ENV] = str(directory)
    os.environ.pop(orphans.RUN_ENV, None)
    redis, mended = None, ""
    if not manifest.redis.url:
        mended = mend_tail(directory)
        redis = redis_spec(directory, os.environ, manifest.redis.server)
    warnings: list[str] = []
    registry, control = manifest.registry, manifest.control
    listen = choose_address("registry", registry.listen, registry.chosen, reservations, warnings)
    control_listen = choose_address("control", control.listen, control.chosen, reservations, warnings)
    token = ensure_token(directory)
    secret = supervisor_token(token)
    backing = registry_spec(manifest, listen, redis.address if redis else manifest.redis.url, secret, os.environ)
    return LaunchPlan(
        manifest=manifest,
        options=options,
        project_dir=directory,
        claim=claim,
        redis=redis,
        registry=backing,
        token=token,
        registry_secret=secret,
        control=control_listen,
        killed=killed,
        removed=removed,
        not_removed=not_removed,
        mended=mended,
        warnings=tuple(warnings),
    )


def _begin_backing_services(plan: "LaunchPlan", fork_server: ForkServer) -> "list[tuple[BackingSpec, ProcessStart]]":
    """Request the processes of the embedded Redis, if the plan has one, and of the registry; return their starts."""
    from minikube.supervisor.backing.spec import begin_process

    started: list[tuple[BackingSpec, ProcessStart]] = []
    for spec in (plan.redis, plan.registry):
        if spec is not None:
            spec.env[orphans.PROJECT_ENV] = str(plan.project_dir)
            started.append((spec, begin_process(spec, fork_server)))
    return started


def choose_address(
    key: str, wanted: HostPort, is_set: bool, reservations: PortReservations, warnings: list[str]
) -> HostPort:
    """Return the address on which the registry or the control API (`key`) is to listen. Raises `StartError`.

    `wanted` is the address of the manifest, or the default where `is_set` is false. A default port that another process
    has is replaced by port 0 (a free one), and a warning is appended to `warnings`.
    """
    if not wanted.port:
        return wanted
    obstacle = find_obstacle(wanted.host, wanted.port, _describe_process)
    if obstacle is None and not reservations.reserve(wanted):
        obstacle = Obstacle(f"port {wanted.port} is taken by another project, which is starting", "port")
    if obstacle is None:
        return wanted
    if obstacle.part == "host" or obstacle.lacks_right:
        raise StartError(f"{key}: {obstacle.text} — set {key}.listen{obstacle.remedy}")
    if is_set:
        raise StartError(f'{key}: {obstacle.text} — stop it, or set {key}.listen (to "auto": a free one)')
    warnings.append(f"{key}: {obstacle.text}, so a free one is used — set {key}.listen to choose")
    return HostPort(wanted.host, 0)


def _describe_process(pid: int, name: str) -> str:
    """Return the name of a process for messages; for a process of another project, `minikube of` that project's directory."""
    project = str(Path(directory).parent) if (directory := processes.environment(pid).get(orphans.PROJECT_ENV)) else ""
    if name == "minikube" and not project:
        # A supervisor does not have the variable in the environment it was executed with; it runs where `up` was typed.
        project = processes.working_directory(pid)
    return printable(f"minikube of {project}" if project else name)
