"""The embedded Redis (Valkey or Redis): its command line, its unix socket, its directories. Imports no trio.

It refuses to start the server (`spec.start_process`) and to wait for it (`startup`).
"""

import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from minikube.errors import StartError
from minikube.project_dir import REDIS_DATA_DIR, REDIS_SOCKET, REDIS_SOCKET_DIR
from minikube.supervisor.backing.redis_program import find_redis
from minikube.supervisor.backing.spec import BackingSpec

SOCKET_PATH_LIMIT = 100
"""In bytes: a socket address holds 108 (unix(7)), and Redis clients may append a suffix."""


def redis_spec(project_dir: Path, environ: Mapping[str, str], wanted: str = "") -> BackingSpec:
    """Return the spec of the embedded Redis: on a unix socket, without TCP, with an append-only file. Raises `StartError`.

    `wanted` is `redis.server` of the manifest.
    """
    path = prepare_redis_files(project_dir)
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


def prepare_redis_files(project_dir: Path) -> Path:
    """Make the data directory, and the directory and link of the socket; return the socket's path. Raises `StartError`.

    Before each start of Redis: a clean-up may have removed them while it ran.
    """
    try:
        # Not `parents`: a project's directory that was moved must not be made again where it was.
        project_dir.mkdir(mode=0o700, exist_ok=True)
        (project_dir / REDIS_DATA_DIR).mkdir(mode=0o700, exist_ok=True)
        return prepare_socket_path(project_dir)
    except OSError as error:
        raise StartError(f"redis: cannot make {error.filename}: {error.strerror}") from None


def prepare_socket_path(project_dir: Path) -> Path:
    """Return the path of the socket on which Redis is to listen, and make `.minikube/redis.sock` a symbolic link to it.

    The socket has a directory of its own, so that a container can be given that directory without the rest of
    `.minikube/`. Where the path would be too long for a socket address, the directory is a private temporary one.
    """
    link, socket = project_dir / REDIS_SOCKET, project_dir / REDIS_SOCKET_DIR / REDIS_SOCKET
    if len(os.fsencode(socket)) > SOCKET_PATH_LIMIT:
        socket = _private_temporary_directory(project_dir) / REDIS_SOCKET_DIR / REDIS_SOCKET
    socket.parent.mkdir(exist_ok=True)
    socket.parent.chmod(0o755)
    link.unlink(missing_ok=True)
    link.symlink_to(socket)
    return socket


def _private_temporary_directory(project_dir: Path) -> Path:
    """Return a temporary directory that only this user can enter, the same for each run of the project.

    Raises `StartError` where another user owns it or can enter it.
    """
    digest = sha256(os.fsencode(project_dir)).hexdigest()[:12]
    private = Path(tempfile.gettempdir(), f"minikube-{os.geteuid()}-{digest}")
    private.mkdir(mode=0o700, exist_ok=True)
    # Another user can create the path first, as a directory of their own or as a link: then the socket would be theirs.
    found = private.stat(follow_symlinks=False)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StartError(f"redis: {private} is not a private directory of this user — remove it")
    return private
