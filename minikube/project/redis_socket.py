"""The place of the unix socket of a project's embedded Redis, and `.minikube/redis.sock`, a link to it for people.

The place is worked out from the project directory. The link may have been copied with the directory, or made by hand: it is
believed only where it names a place of this very project. Otherwise the copy of a project would use the original's Redis,
and remove its socket.

Standard library only, because the guardian imports it. It refuses to make anything: `supervisor.backing.redis` does.
"""

import contextlib
import os
import stat
from pathlib import Path

from minikube.project_dir import REDIS_SOCKET, REDIS_SOCKET_DIR, directory_id

SOCKET_PATH_LIMIT = 100
"""In bytes: a socket address holds 108 (unix(7)), and Redis clients may append a suffix."""

PRIVATE_PREFIX = "minikube-"


def new_redis_socket(project_dir: Path) -> Path:
    """Return the path of the socket for a Redis of the project that starts now.

    The socket has a directory of its own, so that a container can be given that directory without the rest of
    `.minikube/`. Where the path would be too long for a socket address, or is no UTF-8, as the URLs are by which clients get it,
    the directory is in a private temporary one.
    """
    # Resolved, so that each path to the project leads to the same place.
    socket = project_dir.resolve() / REDIS_SOCKET_DIR / REDIS_SOCKET
    if _is_usable(socket):
        return socket
    import tempfile  # slow, and rarely needed

    return Path(tempfile.gettempdir(), private_name(project_dir), REDIS_SOCKET_DIR, REDIS_SOCKET)


def find_redis_socket(project_dir: Path) -> Path:
    """Return the path of the socket of the project's Redis, whether it runs or not.

    It is `new_redis_socket`, or the place that the link names, if it is one of this project: it depends on TMPDIR, and on the
    length of the path that the directory had before it was moved.
    """
    with contextlib.suppress(OSError):
        target = (project_dir / REDIS_SOCKET).readlink()
        private = target.parent.parent
        is_named = target == private / REDIS_SOCKET_DIR / REDIS_SOCKET and private.name == private_name(project_dir)
        if is_named and is_private(private, _owner(project_dir)):
            return target
    return new_redis_socket(project_dir)


def remove_redis_socket(project_dir: Path, socket: Path | None = None) -> None:
    """Remove the socket of an embedded Redis that has ended, its directory, and the link to it.

    `socket` is its path where the directory of the project may have been moved since the start; None: it is found.
    """
    socket = socket or find_redis_socket(project_dir)
    # Each step fails where an earlier cleanup has removed it.
    with contextlib.suppress(OSError):
        (project_dir / REDIS_SOCKET).unlink()
    with contextlib.suppress(OSError):
        if socket.parent.is_symlink():
            socket.parent.unlink()  # to another directory: what is in there is not the project's
            return
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()
        if socket.parent.parent.name.startswith(PRIVATE_PREFIX):
            socket.parent.parent.rmdir()


def private_name(project_dir: Path) -> str:
    """Return the name of the temporary directory for the socket of a project whose path is long.

    It has the identity of the directory and not its path: so it is the same after a move and by each path, a copy has
    another one, and so has a new project at the path of one that was moved away.
    """
    return f"{PRIVATE_PREFIX}{_owner(project_dir)}-{directory_id(project_dir.parent).replace(':', '-')}"


def is_private(path: Path, owner: int) -> bool:
    """Return whether `path` is a directory of the user `owner` that no other user can enter. Raises OSError."""
    found = path.stat(follow_symlinks=False)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077


def _is_usable(socket: Path) -> bool:
    try:
        return len(str(socket).encode()) <= SOCKET_PATH_LIMIT
    except UnicodeEncodeError:
        return False


def _owner(project_dir: Path) -> int:
    """Return the user id of the owner of `.minikube`, as which the project runs, also where root asks."""
    with contextlib.suppress(OSError):
        return project_dir.stat().st_uid
    return os.geteuid()
