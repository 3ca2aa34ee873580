"""The supervisor's process (floor 3): from the fork to the exit code.

What `up` waits for is begun first: Redis and the registry are executed before trio is imported. The lifeline tells when the front
or the guardian has gone. It refuses to decide anything about services: `core` does.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from minikube.engine import engine
from minikube.errors import MinikubeError, StartError
from minikube.linux import processes as tree
from minikube.linux.ports import refusal
from minikube.manifest import HostPort
from minikube.project import orphans as leftovers
from minikube.project_dir import RUN_END_FILE, project_dir
from minikube.supervisor.daemon.ipc import say
from minikube.supervisor.launch_options import LaunchOptions
from minikube.text import printable

LOCK_PATIENCE_S = 12.0
"""A guardian gives up on what cannot be killed a little sooner."""

LOCK_AGAIN_S = 0.01


def run(manifest_path: Path, options: LaunchOptions, sock: socket.socket, alive: int, lock: int) -> int:
    """The exit code. `sock` is the lifeline, `alive` a pipe whose end means that the guardian has died, `lock` the file
    that keeps others out of this directory for as long as one of the two has it open."""
    begun: list[subprocess.Popen[bytes]] = []
    try:
        return _run(manifest_path, options, sock, alive, lock, begun)
    except MinikubeError as error:
        print(f"minikube: {error}", file=sys.stderr, flush=True)
        say(sock, {"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    finally:
        for popen in begun:
            if popen.poll() is None:
                popen.kill()
                popen.wait()


def _run(
    manifest_path: Path,
    options: LaunchOptions,
    sock: socket.socket,
    alive: int,
    lock: int,
    begun: "list[subprocess.Popen[bytes]]",
) -> int:
    from minikube.manifest import load_manifest
    from minikube.supervisor.backing.parts import begin, redis_part, registry_part

    manifest = load_manifest(manifest_path)
    state = project_dir(manifest.path)
    _hold(lock, state)
    (state / RUN_END_FILE).unlink(missing_ok=True)
    ended = leftovers.end_leftovers(state)
    removed, left = engine.sweep_recorded(state)
    tree.become_subreaper()
    os.environ[leftovers.MARK] = str(state)
    os.environ.pop(leftovers.RUN_MARK, None)
    redis = None if manifest.redis.url else redis_part(state, os.environ)
    notes: list[str] = []
    where = _place("registry", manifest.registry.listen, manifest.registry.chosen, notes)
    control = _place("control", manifest.control.listen, manifest.control.chosen, notes)
    registry = registry_part(manifest, where, redis.address if redis else manifest.redis.url, os.environ)
    for part in (redis, registry):
        if part is not None:
            part.env[leftovers.MARK] = str(state)
            begun.append(begin(part))
    from minikube.supervisor.daemon import run as running

    try:
        plan = running.LaunchPlan(
            manifest, options, state, redis, registry, control, ended, removed, left, tuple(notes)
        )
        return running.run(plan, begun, sock, alive)
    finally:
        os.close(lock)


def _hold(lock: int, state: Path) -> None:
    """Takes the directory's lock; waits for one whose supervisor is dead and whose guardian is still ending what it left."""
    import fcntl

    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            found = tree.stat(int(holder)) if holder.isdecimal() else None
            if (found is not None and found.alive) or time.monotonic() > until:
                raise StartError(
                    f"{state.parent}: is running already (pid {holder})"
                    " — `minikube dashboard` opens it, `minikube down` ends it"
                ) from None
            time.sleep(LOCK_AGAIN_S)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _place(key: str, wanted: HostPort, chosen: bool, notes: list[str]) -> HostPort:
    """Where to listen: as the manifest says; where it says nothing and another project has the usual port, a free one."""
    if not wanted.port:
        return wanted
    try:
        taken = _taken(wanted)
    except socket.gaierror as error:
        raise StartError(f"{key}: cannot resolve {wanted.host}: {error.strerror} — set {key}.listen") from None
    if not taken:
        return wanted
    if chosen:
        raise StartError(f'{key}: port {wanted.port} is {taken} — stop it, or set {key}.listen (to "auto": a free one)')
    notes.append(f"{key}: port {wanted.port} is {taken}, so a free one is used — set {key}.listen to choose")
    return HostPort(wanted.host, 0)


def _taken(where: HostPort) -> str:
    """Who keeps us from listening there, in words; empty where nobody does."""
    error = refusal(where.host, where.port)
    if error is None:
        return ""
    owner = tree.port_owner(where.port)
    return f"taken by pid {owner[0]} ({_called(*owner)})" if owner else f"not to be had ({error.strerror})"


def _called(pid: int, name: str) -> str:
    """Of another project's registry or supervisor, the project as well."""
    project = str(Path(mark).parent) if (mark := tree.environment(pid).get(leftovers.MARK)) else ""
    if name == "minikube" and not project:  # a supervisor: it runs where `up` was typed
        project = tree.directory(pid)
    return printable(f"minikube of {project}" if project else name)
