"""The name in the kernel under which the run of a project directory can be found: an abstract unix socket (unix(7)).

The name is made from the device and inode of the project directory, the parent of `.minikube`. So it survives whatever happens
to the files in `.minikube`, it moves with the directory, and a copy of the directory has another one. It exists for as long as
the supervisor or its guardian lives, and the kernel tells the pid and the user of the process that listens there.

Every user of the machine can bind any such name, so a listener is believed only where its user may run the project: see
`is_trusted`. Standard library only, because the guardian and every short command import it. It refuses to wait for an answer.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from minikube.linux import processes
from minikube.project_dir import PROJECT_DIR, directory_id, is_copied

PREFIX = "minikube/"
PROC_UNIX_SOCKETS = Path("/proc/net/unix")

_CREDENTIALS = struct.Struct("iII")
"""`struct ucred`: pid, user, group."""


class Listener(NamedTuple):
    """A connection to the process that listens at the name of a project."""

    pid: int
    """0: the process is in another pid namespace."""
    uid: int
    sock: socket.socket


def run_name(root: Path) -> str:
    """Return the name of the run of the project directory `root`, without the leading NUL of its address; empty without one."""
    found = directory_id(root)
    return f"{PREFIX}{found}" if found else ""


def connect(name: str) -> Listener | None:
    """Connect to the listener at a name; return None where no process listens there. The caller closes the socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Without blocking: the queue of a listener that hangs may be full.
        sock.setblocking(False)
        sock.connect(f"\0{name}")
        pid, uid = peer_credentials(sock)
    except OSError:
        sock.close()
        return None
    return Listener(pid, uid, sock)


def peer_credentials(sock: socket.socket) -> tuple[int, int]:
    """Return the pid and the user id of the process at the other end of a unix socket. Raises OSError."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def is_trusted(uid: int, root: Path) -> bool:
    """Return whether a process of this user may be the supervisor of the project directory `root`.

    These may: this process' user, root, and the owners of the directory and of its `.minikube`.
    """
    if uid in (0, os.geteuid()):
        return True
    for path in (root, root / PROJECT_DIR):
        with contextlib.suppress(OSError):
            if path.stat(follow_symlinks=path == root).st_uid == uid:
                return True
    return False


def listed_names(prefix: str = PREFIX) -> list[str]:
    """Return all bound names of runs on this machine that begin with `prefix`."""
    try:
        lines = PROC_UNIX_SOCKETS.read_bytes().splitlines()
    except OSError:
        return []
    start = f"@{prefix}".encode()
    found = {line.split()[-1] for line in lines if start in line}
    return sorted(os.fsdecode(name[1:]) for name in found if name.startswith(start))


def is_of_other_directory(found: Mapping[str, object], directory: Path) -> bool:
    """Return whether a record in `directory`, a project's `.minikube`, was copied there from another directory that exists.

    Unlike `is_copied` it also finds an original that was moved, for as long as its supervisor lives.
    """
    if is_copied(found, directory):
        return True
    recorded = str(found.get("directory_id", ""))
    if not recorded or recorded == directory_id(directory.parent):
        return False
    name = f"{PREFIX}{recorded}"
    return any(_keeps_directory(pid, recorded) for pid in listener_pids([name, *listed_names(f"{name}/")]))


def listener_pids(names: Iterable[str]) -> list[int]:
    """Return the pids of the living supervisors at some names; 0 for one in another pid namespace."""
    found = []
    for name in names:
        if (listener := connect(name)) is not None:
            listener.sock.close()
            if not listener.pid or processes.is_alive(listener.pid):  # else only its guardian is alive
                found.append(listener.pid)
    return found


def _keeps_directory(supervisor: int, recorded: str) -> bool:
    """Return False where the directory that the process `supervisor` has open, with the id `recorded`, was deleted.

    So it is after a move to another file system, which copies and deletes.
    """
    paths = []
    with contextlib.suppress(OSError):  # another user's process, or one in another pid namespace
        for link in Path(f"/proc/{supervisor}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found = link.stat()
                if f"{found.st_dev}:{found.st_ino}" == recorded:
                    paths.append(f"/proc/{supervisor}/root{link.readlink()}")
    return not paths or any(directory_id(Path(path)) == recorded for path in paths)
