"""The supervisor's process (floor 3): from the fork to the exit code.

What `up` waits for is begun first: Redis and the registry are executed before trio is imported. The lifeline tells when the front
or the guardian has gone. It refuses to decide anything about services: `core` does.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from minikube.errors import MinikubeError, StartError
from minikube.supervisor import engine, leftovers, tree
from minikube.supervisor.guardian import LaunchOptions

READY_S = 30.0


def run(manifest_path: Path, options: LaunchOptions, sock: socket.socket, alive: int) -> int:
    """The exit code. `sock` is the lifeline, `alive` a pipe whose end means that the guardian has died."""
    begun: list[subprocess.Popen[bytes]] = []
    try:
        return _run(manifest_path, options, sock, alive, begun)
    except MinikubeError as error:
        print(f"minikube: {error}", file=sys.stderr, flush=True)
        say(sock, {"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    finally:
        for popen in begun:
            if popen.poll() is None:
                popen.kill()
                popen.wait()


def say(sock: socket.socket, message: dict[str, Any]) -> None:
    """A line up the lifeline; nobody may be there any more."""
    try:
        sock.send(json.dumps(message).encode() + b"\n")
    except OSError:
        return


def _run(
    manifest_path: Path, options: LaunchOptions, sock: socket.socket, alive: int, begun: "list[subprocess.Popen[bytes]]"
) -> int:
    from minikube.manifest import load_manifest
    from minikube.supervisor.parts import begin, redis_part, registry_part

    manifest = load_manifest(manifest_path)
    state = manifest.directory / ".minikube"
    lock = _lock(state)
    ended = leftovers.end_leftovers(state)
    removed = engine.sweep_recorded(state)
    tree.become_subreaper()
    os.environ[leftovers.MARK] = str(state)
    redis = None if manifest.redis.url else redis_part(state, os.environ)
    registry = registry_part(manifest, redis.address if redis else manifest.redis.url, os.environ)
    _check_free("registry", manifest.registry.listen.host, manifest.registry.listen.port)
    _check_free("control", manifest.control.listen.host, manifest.control.listen.port)
    for part in (redis, registry):
        if part is not None:
            part.env[leftovers.MARK] = str(state)
            begun.append(begin(part))
    from minikube.supervisor import running

    try:
        return running.run(running.Plan(manifest, state, redis, registry, ended, removed), begun, sock, alive)
    finally:
        os.close(lock)


def _lock(state: Path) -> int:
    """Held for as long as this supervisor lives: one for each directory."""
    import fcntl

    path = state / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StartError(
            f"{state.parent}: is running already (pid {holder}) — `minikube dashboard` opens it, `minikube down` ends it"
        ) from None
    os.truncate(path, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _check_free(key: str, host: str, port: int) -> None:
    if not port:
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise StartError(f"{key}: cannot resolve {host}: {error.strerror} — set {key}.listen") from None
    except OSError as error:
        owner = tree.port_owner(port)
        who = f"taken by pid {owner[0]} ({owner[1]})" if owner else f"not to be had ({error.strerror})"
        raise StartError(f"{key}: port {port} is {who} — set {key}.listen or stop it") from None
