"""The attributes that a process has from its first instruction, and their application between fork and exec.

Services, their stop and health commands, the backing services, and `minikube run` and `exec` all get theirs here. Standard
library only, because the fork server imports it. It refuses to fork.
"""

import contextlib
import errno
import fcntl
import os
import resource
import termios
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

STDIN_PIPE_BYTES = 4_096
"""The least size of a pipe. Nothing is ever written to the stdin of a service."""


class ExecFailure(Exception):
    """A step between fork and exec that has failed: which one, the error number, and the file that it is about.

    `stage` is one of `fork`, `descriptors`, `stdin`, `session`, `terminal`, `limit`, `directory`, `user` and `exec`. `path` is the
    directory, the name of the limit, or the program that was found; empty for an `exec` where none was found. An `exec` with ENOENT
    and a path is a program whose interpreter (its `#!` line) does not exist.
    """

    def __init__(self, stage: str, number: int, path: str = "") -> None:
        super().__init__(f"{stage}: {os.strerror(number)}{f': {path}' if path else ''}")
        self.stage = stage
        self.errno = number
        self.path = path


class ExecContext(NamedTuple):
    """A program to execute, and the attributes of its process. Strings are in the encoding of the file system."""

    argv: tuple[bytes, ...]
    env: Mapping[bytes, bytes]
    cwd: bytes
    umask: int = -1
    """-1: that of the shell that ran `up`."""
    rlimits: tuple[tuple[str, int, int, int], ...] = ()
    """Name, number, soft and hard limit; those that are not here are the limits of the shell that ran `up`."""
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None
    """Supplementary groups. None: those of the supervisor, like a `user` and a `group` of None."""
    cgroup: bytes = b""
    """The directory of a v2 control group; empty: the supervisor's."""
    legacy_cgroups: tuple[bytes, ...] = ()
    """The directories of v1 control groups."""
    tty: bool = False
    """Whether descriptor 0 is a terminal, which becomes the controlling terminal of the new session."""
    is_isolated: bool = False
    """Whether no other start may wait for this one: its directory or program may be on a file system that does not answer."""

    @property
    def is_plain(self) -> bool:
        """Whether a process can inherit all its attributes, but for the session, from its parent."""
        ids = (self.user, self.group, self.groups)
        return not (self.rlimits or self.legacy_cgroups or self.tty or self.is_isolated) and ids == (None, None, None)


def open_silent_stdin() -> int:
    """Return a descriptor for stdin: a pipe that is never written to and never reaches its end. Raises OSError.

    It is open for reading and writing, so the process itself keeps the pipe open: it depends on no other process, and shares
    no flag (O_NONBLOCK) with another one. Without `/proc`, it is /dev/null.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        descriptor = os.open(f"/proc/self/fd/{read_end}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(read_end)
        os.close(write_end)
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, STDIN_PIPE_BYTES)
    return descriptor


def enter_session(tty: bool) -> None:
    """Start a new session; with `tty`, take descriptor 0 as its controlling terminal. Raises `ExecFailure`."""
    try:
        os.setsid()
    except OSError as error:
        raise _failure("session", error) from None
    if tty:
        try:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        except OSError as error:
            raise _failure("terminal", error) from None


def set_attributes(context: ExecContext, own_descriptors: Sequence[int] = ()) -> None:
    """Set umask, limits, directory, groups and user of this process. Raises `ExecFailure`.

    `own_descriptors` are pipes or terminals that become the new user's, so that the program may open them by name
    (`/dev/stderr`).
    """
    if context.umask >= 0:
        os.umask(context.umask)
    for name, number, soft, hard in context.rlimits:
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError) as error:
            raise ExecFailure("limit", getattr(error, "errno", None) or errno.EPERM, name) from None
    refused: ExecFailure | None = None
    try:
        enter_directory(context.cwd)
    except ExecFailure as failure:
        # On a network file system root may not enter a directory that the service's user may.
        if failure.errno != errno.EACCES or context.user is None:
            raise
        refused = failure
    _set_ids(context, own_descriptors)
    if refused is not None:
        enter_directory(context.cwd)


def _set_ids(context: ExecContext, own_descriptors: Sequence[int]) -> None:
    try:
        if context.user is not None:
            for descriptor in own_descriptors:
                with contextlib.suppress(OSError):
                    os.fchown(descriptor, context.user, -1)
        # The user comes last: after it, this process may not set groups any more.
        if context.groups is not None:
            os.setgroups(context.groups)
        if context.group is not None:
            os.setresgid(context.group, context.group, context.group)
        if context.user is not None:
            os.setresuid(context.user, context.user, context.user)
    except OSError as error:
        raise _failure("user", error) from None
    except (ValueError, OverflowError):  # more groups, or a larger number, than the kernel takes
        raise ExecFailure("user", errno.EINVAL) from None


def enter_directory(path: bytes) -> None:
    """Change to a directory. Raises `ExecFailure`."""
    try:
        os.chdir(path)
    except OSError as error:
        raise _failure("directory", error, path) from None


def find_program(name: bytes, env: Mapping[bytes, bytes]) -> bytes:
    """Return the path of a program, which is searched on the PATH of `env`. Raises `ExecFailure`."""
    if b"/" in name:
        return name
    refused = b""
    for directory in env.get(b"PATH", os.defpath.encode()).split(b":"):
        path = os.path.join(directory or b".", name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            refused = refused or path
    raise ExecFailure("exec", errno.EACCES if refused else errno.ENOENT, os.fsdecode(refused))


def execute(argv: Sequence[bytes], env: Mapping[bytes, bytes]) -> NoReturn:
    """Replace this process by the program `argv[0]`. Raises `ExecFailure`."""
    program = find_program(argv[0], env)
    try:
        os.execve(program, list(argv), env)
    except OSError as error:
        raise exec_failure(program, error) from None


def exec_failure(program: bytes, error: OSError) -> ExecFailure:
    """Return the failure for a program that could not be executed."""
    # Where the file is there, it is its interpreter that is not.
    is_found = error.errno not in (errno.ENOENT, errno.ENOTDIR) or os.path.isfile(program)
    return _failure("exec", error, program if is_found else b"")


def _failure(stage: str, error: OSError, path: bytes = b"") -> ExecFailure:
    return ExecFailure(stage, error.errno or errno.EIO, os.fsdecode(path))
