"""The right to run a project directory, which one supervisor and its guardian have at a time.

It consists of a name in the kernel (`run_name`) and of a lock on the file `.minikube/lock`. The name holds also where
`.minikube` is deleted, moved or copied meanwhile; the lock also between network namespaces, and against supervisors of older
versions. Standard library only, because the guardian imports it. It refuses to answer at the name: the supervisor does.
"""

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

from minikube.errors import StartError
from minikube.linux import processes
from minikube.project.run_lookup import find_run, user_name
from minikube.project.run_name import connect, is_trusted, run_name
from minikube.project_dir import LOCK_FILE

CLAIM_TIMEOUT_S = 12.0
"""A little longer than a guardian takes to give up on processes that cannot be killed."""

RETRY_S = 0.01
BACKLOG = 1024
"""Connections that wait while the supervisor starts or hangs; each command makes one."""


class RunClaim:
    """The claim of this run on a project. The guardian creates it and the supervisor, its child, takes it for both."""

    def __init__(self, directory: Path, *, create: bool = True) -> None:
        """`directory` is the project's `.minikube`. Raises OSError where the lock file cannot be opened.

        Without `create`, a lock file that does not exist is not made, and the claim consists of the name.
        """
        self._directory = directory
        # Made before the fork, so that the supervisor's `bind` is its guardian's, too.
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._locks = [_open_lock(directory)] if create or (directory / LOCK_FILE).exists() else []

    @property
    def is_taken(self) -> bool:
        """Return whether this run has taken the claim, so that it may clean up the project directory."""
        return bool(self.socket.getsockname())

    def take(self, timeout: float = CLAIM_TIMEOUT_S) -> None:
        """Take name and lock, and listen at the name. Raises `StartError` where another run has them.

        Where that run is ending, or its guardian still kills its processes, wait up to `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while not self.try_take():
            self._refuse_second_run(time.monotonic() > end)
            time.sleep(RETRY_S)
        self.socket.listen(BACKLOG)

    def try_take(self) -> bool:
        """Take name and lock without listening; return whether this process has both."""
        return self._bind() and all(map(_lock, self._locks))

    def move(self, directory: Path) -> None:
        """Use the lock file in `directory` from now on: the project directory was moved or made again."""
        self._directory = directory

    def renew(self) -> bool:
        """Lock the lock file again where it was removed or replaced; return whether it was. Raises OSError."""
        path = self._directory / LOCK_FILE
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._locks[-1]), path.stat(follow_symlinks=False)):
                return False
        if path.is_symlink():
            path.unlink()
        fresh = _open_lock(self._directory)
        if not _lock(fresh):
            os.close(fresh)
            raise BlockingIOError(0, "is locked by another process", str(path))
        # The first file stays locked, because the guardian has no other.
        for descriptor in self._locks[1:]:
            os.close(descriptor)
        self._locks[1:] = [fresh]
        return True

    def add_name(self, root: Path) -> socket.socket | None:
        """Return a socket that listens at the name of another directory, which has taken the place of the project's.

        None where another process has that name, or the directory is gone again.
        """
        if not (name := run_name(root)):
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(f"\0{name}")
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            return None
        return sock

    def stop_listening(self) -> None:
        """Refuse connections from now on: the run has ended but for its last processes. The claim is kept."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        for lock in self._locks:
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)

    def close(self) -> None:
        """Close the socket and the lock file in this process; the claim ends when no process has them open."""
        self.socket.close()
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()

    def _bind(self) -> bool:
        """Take the name of the project; return whether this run has it."""
        if self.is_taken:
            return True
        root = self._directory.parent
        name = run_name(root)
        with contextlib.suppress(OSError):
            self.socket.bind(f"\0{name}")
            return True
        if (listener := connect(name)) is not None:
            listener.sock.close()
            if not is_trusted(listener.uid, root):
                return self._bind_other()
        return False

    def _bind_other(self) -> bool:
        """Take a name beside the project's own, where a user that must not run the project has that; return whether it worked."""
        with contextlib.suppress(OSError):
            self.socket.bind(f"\0{run_name(self._directory.parent)}/{os.getpid()}")
        return self.is_taken

    def _refuse_second_run(self, timed_out: bool) -> None:
        """Raise `StartError` where the project is running, and at the end of the time-out."""
        root = self._directory.parent
        run = find_run(self._directory)
        is_ending = run is None or (run.record is not None and run.record.ending)
        if is_ending and not timed_out:
            return
        pid = run.pid if run is not None else self._lock_holder()
        if timed_out and run is None and all(map(_lock, self._locks)) and self._bind_other():
            return  # a process holds the name, but neither runs the project nor listens
        owner = f" of user {user_name(run.uid)}" if run is not None and run.uid != os.geteuid() else ""
        raise StartError(
            f"{root}: is running already (pid {pid or '?'}{owner})"
            " — `minikube dashboard` opens it, `minikube down` ends it"
        )

    def _lock_holder(self) -> int:
        """Return the pid in the lock file where that process is alive; 0 otherwise."""
        if not self._locks:
            return 0
        text = os.pread(self._locks[-1], 32, 0).decode("ascii", "replace").strip()
        found = processes.read_stat(int(text)) if text.isdecimal() else None
        return found.pid if found is not None and found.is_alive else 0


def _lock(lock: int) -> bool:
    """Lock an open lock file and write the pid of this process into it; return whether this process has the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    # Written into the open file, not replaced: the lock belongs to this very file. On a full disk it stays empty.
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return True


def _open_lock(directory: Path) -> int:
    # NOFOLLOW: a link in place of the lock file must not lead to writing to another file.
    return os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
