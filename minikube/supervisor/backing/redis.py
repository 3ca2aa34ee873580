"""The embedded Redis (Valkey or Redis): its command line, its unix socket, its directories. Imports no trio.

It refuses to start the server (`spec.start_process`) and to wait for it (`startup`).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from minikube.errors import StartError
from minikube.project.redis_socket import is_private, new_redis_socket
from minikube.project_dir import REDIS_DATA_DIR, REDIS_SOCKET
from minikube.supervisor.backing.redis_program import find_redis
from minikube.supervisor.backing.spec import BackingSpec


def redis_spec(project_dir: Path, environ: Mapping[str, str], wanted: str = "") -> BackingSpec:
    """Return the spec of the embedded Redis: on a unix socket, without TCP, with an append-only file. Raises `StartError`.

    `wanted` is `redis.server` of the manifest.
    """
    path = new_redis_socket(project_dir)
    prepare_redis_files(project_dir, path)
    options = {
        "port": "0",
        "unixsocket": str(path),
        # The project directory's mode 0700 keeps other users out. A container's user is another user, and is let in.
        "unixsocketperm": "777",
        "dir": str(project_dir / REDIS_DATA_DIR),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
    }
    argv = [find_redis(environ, wanted, project_dir / REDIS_DATA_DIR)]
    for key, value in options.items():
        argv += [f"--{key}", value]
    env = {key: environ[key] for key in ("PATH", "HOME", "LANG", "TZ", "TMPDIR") if key in environ}
    return BackingSpec("redis", tuple(argv), env, project_dir, f"unix://{quote(str(path))}")


def prepare_redis_files(project_dir: Path, socket: Path) -> None:
    """Make the data directory, the directory of the socket, and the link to the socket. Raises `StartError`.

    Before each start of Redis: a clean-up may have removed them while it ran.
    """
    try:
        # Not `parents`: a project's directory that was moved must not be made again where it was.
        project_dir.mkdir(mode=0o700, exist_ok=True)
        (project_dir / REDIS_DATA_DIR).mkdir(mode=0o700, exist_ok=True)
        _prepare_socket_directory(project_dir, socket)
    except OSError as error:
        raise StartError(f"redis: cannot make {error.filename}: {error.strerror}") from None


def _prepare_socket_directory(project_dir: Path, socket: Path) -> None:
    """Make the directory of the socket, and `.minikube/redis.sock` a symbolic link to it. Raises OSError and `StartError`."""
    link, place = project_dir / REDIS_SOCKET, socket.parent
    is_inside = place.parent == project_dir.resolve()
    if not is_inside:
        _make_private(place.parent)
    if place.is_symlink():  # copied or made by hand: it leads to a directory that is not Redis'
        place.unlink()
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    link.unlink(missing_ok=True)
    # A relative link leads to the project's own Redis also after the directory was moved or copied.
    link.symlink_to(Path(place.name, socket.name) if is_inside else socket)


def _make_private(private: Path) -> None:
    """Make a temporary directory that only this user can enter. Raises OSError, and `StartError` where it is another user's."""
    private.mkdir(mode=0o700, exist_ok=True)
    # Another user can create the path first, as a directory of their own or as a link: then the socket would be theirs.
    if not is_private(private, os.geteuid()):
        raise StartError(f"redis: {private} is not a private directory of this user — remove it")
