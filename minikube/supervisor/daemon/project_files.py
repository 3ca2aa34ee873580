"""The supervisor's own files in `.minikube`, put right when they are deleted, moved or replaced while the project runs.

These are the directory itself, the record, the token, the lock, the supervisor's log, and the records of processes, containers
and control groups. A project directory that is moved is followed; one that is deleted and made again is taken over.

Each check compares files with what was written, for a few microseconds, so it is made every second and before each answer to a
command. It refuses to care for the logs of instances and for Redis' socket: `logs` and `backing` do.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from minikube.project.run_claim import RunClaim
from minikube.project.run_lookup import user_name
from minikube.project_dir import (
    CGROUPS_FILE,
    CONTAINERS_FILE,
    LOCK_FILE,
    LOG_DIR,
    PROCESSES_FILE,
    PROJECT_DIR,
    SUPERVISOR_FILE,
    SUPERVISOR_LOG,
    TOKEN_FILE,
    SupervisorRecord,
    log_dir,
    origin,
    supervisor_log,
    write_supervisor_record,
)
from minikube.supervisor.daemon.token_file import write_token

KEPT_FILES = (PROCESSES_FILE, CONTAINERS_FILE, CGROUPS_FILE)
"""Records that other modules write and remove. Their content is kept here for a directory that was deleted."""

KEPT_LIMIT = 1024 * 1024

READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

DELETED = " (deleted)"
"""How `/proc` marks the path of an open directory that was deleted (proc(5))."""

Report = Callable[[str, str, str], object]
Identity = tuple[int, int, int, int]


class ProjectFiles:
    """Keeps the supervisor's files in the project directory right. `check` is called in the trio thread.

    `report` gets the kind, the text and the level of an event.
    """

    def __init__(
        self,
        directory: Path,
        claim: RunClaim,
        token: str,
        record: SupervisorRecord,
        report: Report,
        log_descriptors: tuple[int, ...] = (1, 2),
        on_move: Callable[[Path, Path], object] = lambda old, new: None,
    ) -> None:
        """`on_move` gets the old and the new path of a project directory that was moved.

        It is called twice where the path that was given leads through links: for that path, and for the one without links.
        `log_descriptors` are those of the supervisor's log; empty: the log is not kept right.
        """
        self.directory = directory
        """The project's `.minikube`, where it is now."""
        self.record = record
        self.token = token
        self.new_names: list[socket.socket] = []
        """Sockets at further names, which listen since the project directory was deleted and made again."""
        self._claim = claim
        self._report = report
        self._log_descriptors = log_descriptors
        self._on_move = on_move
        # Open descriptors: the inode of a deleted directory would be given to the next one.
        self._root = _open_directory(directory.parent)
        self._real = Path(_path_of(self._root))
        """The path of the project directory without links."""
        self._written: dict[str, Identity | None] = {TOKEN_FILE: _identity(directory / TOKEN_FILE)}
        """By file: what identifies the content that this process has written."""
        self._kept: dict[str, tuple[Identity | None, bytes]] = {}
        self._place = _open_directory(directory)
        self._failure = ""

    def write_record(self, record: SupervisorRecord) -> None:
        """Write the supervisor's record, and keep it from now on. A failure is reported, and tried again."""
        self.record = record
        self._written[SUPERVISOR_FILE] = None
        self.check()

    def remove_record(self) -> None:
        """Remove the record, because the run ends, and keep no file any more."""
        self.record = replace(self.record, control="", ending=True)
        self._written.clear()
        with contextlib.suppress(OSError):
            (self.directory / SUPERVISOR_FILE).unlink(missing_ok=True)

    def check(self) -> None:
        """Compare the files with what was written; write and report those that are missing or of another process.

        Does not raise: a failure is reported.
        """
        if not self._written:
            return
        try:
            self._follow_root()
            restored = self._restore()
        except OSError as error:
            text = error.strerror or str(error)
            if text != self._failure:
                self._failure = text
                where = self.directory if error.filename is None else error.filename
                advice = "commands find the project all the same"
                if isinstance(error, FileNotFoundError) and not self.directory.parent.exists():
                    advice = "make it again, then `minikube down` there ends the project"
                self._report("project.unwritable", f"{where}: cannot be made again: {text} — {advice}", "error")
            return
        if self._failure:
            self._failure = ""
            self._report("project.writable", f"{self.directory} can be written again", "info")
        if restored:
            what = PROJECT_DIR if PROJECT_DIR in restored else ", ".join(f"{PROJECT_DIR}/{name}" for name in restored)
            self._report("project.restored", f"{what}: removed or replaced, and made again", "warning")

    # ------------------------------------------------------------ the project directory

    def _follow_root(self) -> None:
        """Find the project directory where it was moved or made again, and use it from now on. Raises OSError."""
        root, is_in_place = self.directory.parent, False
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            is_in_place = os.path.samestat(os.fstat(self._root), root.stat())
        path = _path_of(self._root)
        if not is_in_place and path.endswith(DELETED):
            self._take_over(root)
            return
        if not is_in_place:
            self._use_root(Path(path))
            if root != self._real:
                self._on_move(root, Path(path))
        # Also in place: a link in the given path may lead to the new place.
        if path != str(self._real):
            before, self._real = self._real, Path(path)
            self._on_move(before, self._real)
            self._report(
                "project.moved",
                f"the project directory was moved to {path}: the project goes on there, but services that use its path have"
                " the old one until their restart — `minikube restart`",
                "warning",
            )

    def _take_over(self, root: Path) -> None:
        """Use a directory that was made in place of the deleted one. Raises OSError, also where there is none."""
        if not os.path.isdir(root):  # Path.is_dir raises PermissionError
            raise FileNotFoundError(0, "the project directory was deleted", str(root))
        _check_own(root)
        fresh = _open_directory(root)
        os.close(self._root)
        self._root, self._real = fresh, Path(_path_of(fresh))
        self._use_root(root)
        if (sock := self._claim.add_name(root)) is not None:
            self.new_names.append(sock)

    def _use_root(self, root: Path) -> None:
        old = self.directory.parent
        files = self.record.manifest_files.map(
            lambda path: root / path.relative_to(old) if path.is_relative_to(old) else path
        )
        self.directory = root / PROJECT_DIR
        self._claim.move(self.directory)
        overrides = tuple(map(str, files.overrides))
        self.record = replace(self.record, manifest=str(files.first), overrides=overrides, **origin(self.directory))
        if SUPERVISOR_FILE in self._written:
            self._written[SUPERVISOR_FILE] = None

    # ------------------------------------------------------------ files

    def _restore(self) -> list[str]:
        """Write what is missing or of another process; return the names, of a new directory `.minikube` first.

        Raises OSError.
        """
        restored: list[str] = []
        writes_record = False
        for needed in (self.directory, log_dir(self.directory)):
            if not needed.is_dir():
                if os.path.lexists(needed):
                    raise FileExistsError(0, "what is there is no directory", str(needed))
                needed.mkdir(mode=0o700)
                if needed != self.directory:
                    restored.append(needed.name)
        # Also where another part of the program has made it first.
        if not os.path.samestat(os.fstat(self._place), self.directory.stat()):
            restored.append(PROJECT_DIR)
            place = _open_directory(self.directory)
            os.close(self._place)
            self._place = place
        for name, written in self._written.items():
            if written is None or _identity(self.directory / name) != written:
                _check_own(self.directory)
                self._write(name)
                writes_record = writes_record or name == SUPERVISOR_FILE
                if written is not None:  # else it is new, or has new content
                    restored.append(name)
        if self._claim.renew():
            restored.append(LOCK_FILE)
        if self._reopen_log():
            restored.append(f"{LOG_DIR}/{SUPERVISOR_LOG}")
        self._keep_others(restore=writes_record)
        return restored

    def _write(self, name: str) -> None:
        if name == TOKEN_FILE:
            write_token(self.directory, self.token)
        else:
            write_supervisor_record(self.directory, self.record)
        self._written[name] = _identity(self.directory / name)

    def _keep_others(self, *, restore: bool) -> None:
        """Remember the content of the records that others write; with `restore`, write those that are gone."""
        for name in KEPT_FILES:
            path = self.directory / name
            found = _identity(path)
            identity, content = self._kept.get(name, (None, b""))
            if found is None:
                if restore and content:
                    path.write_bytes(content)
                else:
                    self._kept.pop(name, None)  # removed by the module that writes it
            elif found != identity:
                # NONBLOCK: a FIFO in its place would hold the trio thread.
                with contextlib.suppress(OSError), open(os.open(path, READ_FLAGS), "rb") as file:
                    self._kept[name] = (found, file.read(KEPT_LIMIT))

    def _reopen_log(self) -> bool:
        """Write the supervisor's log into a new file where it was removed or replaced; return whether it was."""
        if not self._log_descriptors:
            return False
        path = supervisor_log(self.directory)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._log_descriptors[0]), path.stat(follow_symlinks=False)):
                return False
        if path.is_symlink() or path.is_fifo():
            path.unlink()
        fresh = os.open(
            path, os.O_WRONLY | os.O_NONBLOCK | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        for outdated in self._log_descriptors:
            os.dup2(fresh, outdated)
        os.close(fresh)
        return True

    # ------------------------------------------------------------ answers

    def answer(self, uid: int) -> dict[str, Any]:
        """Return what a command of this user is told: the record, and the token if the user may have it."""
        record = asdict(self.record)
        return {"record": record, "token": self.token} if uid in (0, os.geteuid()) else {"record": record}


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _path_of(descriptor: int) -> str:
    """Return the path of an open directory without links. Raises OSError."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _identity(path: Path) -> Identity | None:
    """Return what identifies a file with its content; None where there is none."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_uid


def _check_own(path: Path) -> None:
    """Raise PermissionError where another user has the directory: what is written there could be replaced."""
    owner = path.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise PermissionError(0, f"belongs to user {user_name(owner)}", str(path))
