"""The guardian: the supervisor's parent process, which kills all remaining processes when the supervisor is dead.

    up (CLI) ── fork ──► guardian (own session, child subreaper) ── fork ──► supervisor (trio)
        └────────── a socket pair: see `ipc` ──────────────────────────────────┘

A process whose parent dies becomes a child of the nearest subreaper. So when the supervisor dies, all its processes become the
guardian's children, also those that called setsid, and the guardian kills them. When the guardian dies, its end of a pipe
closes, and the supervisor stops everything (`shutdown.watch_guardian`).

Standard library only: the guardian is forked before large modules are imported, and stays small. It refuses to decide
anything about services.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from minikube.errors import StartError
from minikube.linux import cgroup, processes
from minikube.linux.proc_mount import ensure_own_proc
from minikube.project.redis_socket import new_redis_socket, remove_redis_socket
from minikube.project.run_claim import RunClaim
from minikube.project.run_lookup import user_name
from minikube.project_dir import (
    CONTAINERS_FILE,
    SUPERVISOR_FILE,
    SUPERVISOR_LOG_NAME,
    ManifestFiles,
    log_dir,
    project_dir,
    record_run_end,
    supervisor_log,
)
from minikube.supervisor.daemon.ipc import SupervisorHandle, send_message
from minikube.supervisor.launch_options import LaunchOptions

KILL_INTERVAL_S = 0.005
"""Between two searches for living processes: a fork may have been under way during one."""

KILL_TIMEOUT_S = 10.0
"""When the guardian gives up on processes that KILL does not end (uninterruptible sleep)."""

GROUPS_TIMEOUT_S = 1.0


def launch(files: ManifestFiles, options: LaunchOptions) -> SupervisorHandle:
    """Fork the guardian, which forks the supervisor of a manifest; return the connection of `up` to them. Raises `StartError`.

    Call it before any thread is started (a fork copies only the calling thread) and before large modules are imported.
    """
    ensure_own_proc()
    directory = project_dir(files.first)
    _check_owner(directory)
    try:
        for needed in (directory, log_dir(directory)):
            if os.path.lexists(needed) and not needed.is_dir():
                raise StartError(f"{needed}: is no directory — move it away")
            needed.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise StartError(f"{directory}: cannot write there: {error.strerror} — make the directory writable") from None
    up_end, supervisor_end = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        supervisor_end.close()
        return SupervisorHandle(up_end, pid)
    try:
        up_end.close()
        _run_guardian(files, options, supervisor_end, directory)
    except BaseException as error:
        send_message(supervisor_end, {"error": f"guardian: {error}", "exit_code": 1})
    finally:
        os._exit(1)


def _check_owner(directory: Path) -> None:
    """Raise `StartError` where `directory`, a project's `.minikube`, is another user's.

    Also for root: the files that root's run leaves there would keep the owner from running the project again.
    """
    with contextlib.suppress(OSError):
        owner = directory.stat().st_uid
        if owner != os.geteuid():
            user = user_name(owner)
            raise StartError(
                f"{directory}: belongs to user {user} — start the project as that user (sudo -u {user} minikube up),"
                " or remove the directory"
            )


def _run_guardian(files: ManifestFiles, options: LaunchOptions, sock: socket.socket, directory: Path) -> NoReturn:
    """Fork the supervisor, wait for its exit, kill its remaining processes, clean up the project directory, and exit.

    `sock` is the connection to `up`. `directory` is the project's `.minikube`.
    """
    os.setsid()
    _handle_signals()
    _leave_terminal(supervisor_log(directory))
    _close_inherited_descriptors(sock.fileno())
    processes.become_subreaper()
    group_name = cgroup.group_name(directory)
    redis_socket = new_redis_socket(directory)  # now: the directory may be moved
    real = directory.resolve()  # the socket's path leads through no links
    root = os.open(directory.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    claim = RunClaim(directory)
    # Nothing is ever written: the read end becomes readable when the guardian, which has the only write end, dies.
    read_end, write_end = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(write_end)
        os.close(root)
        # _exit: the handlers and buffers that this process has inherited are those of `up`.
        os._exit(_run_supervisor(files, options, sock, read_end, claim))
    os.close(read_end)
    signal.signal(signal.SIGTERM, _forward_to(supervisor))  # a TERM for the guardian means the project
    status = _wait(supervisor)
    _kill_descendants()
    # Another run has the project where the supervisor was refused because of it.
    if claim.is_taken:
        moved = _current_place(directory, root)
        if redis_socket.is_relative_to(real):
            redis_socket = moved / redis_socket.relative_to(real)
        directory = moved
        # A supervisor that ended by itself has recorded the reason and removed its containers.
        if status < 0:
            record_run_end(directory, f"the supervisor was killed by signal {-status}")
        _remove_containers(directory, status)
        _remove_groups(directory, group_name)
        with contextlib.suppress(OSError):  # also where the directory is gone or cannot be written
            (directory / SUPERVISOR_FILE).unlink(missing_ok=True)
        remove_redis_socket(directory, redis_socket)
    send_message(sock, {"exit": status})
    os._exit(0)


def _current_place(directory: Path, root: int) -> Path:
    """Return where `.minikube` is now. `root` is the project directory, opened at the start: it may have been moved since."""
    with contextlib.suppress(OSError):
        if os.path.exists(directory.parent) and os.path.samestat(os.fstat(root), directory.parent.stat()):
            return directory  # by the path that was given: it may lead through links
        path = os.readlink(f"/proc/self/fd/{root}")
        if os.path.isdir(path):  # not where it was deleted
            return Path(path, directory.name)
    return directory


def _handle_signals() -> None:
    """Keep signals of the terminal from ending or stopping this process: they are meant for `up`, which asks for a stop.

    PIPE: `up` may end before the last message.
    """
    # With handlers: what is ignored stays ignored in every program that this process and the supervisor execute. What a
    # careless parent of `up` has ignored or blocked must not hold here either: an exit would never be seen without CHLD.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _forward_to(child: int) -> Callable[[int, object], None]:
    """Return a signal handler that sends the signal to the process `child`, or does nothing once that has ended."""
    # By a pidfd: the guardian kills and cleans up for seconds after it has reaped the supervisor, whose pid may be another
    # process' by then.
    pidfd = os.pidfd_open(child)

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)

    return forward


def _run_supervisor(
    files: ManifestFiles, options: LaunchOptions, sock: socket.socket, guardian_pipe: int, claim: RunClaim
) -> int:
    """Run the supervisor in the forked process; return its exit code. The arguments are those of `launcher.run`.

    Large modules are imported only here, after the fork.
    """
    try:
        from minikube.supervisor.runtime.process.fork_client import fork_server

        server = fork_server()  # first: what is imported from here on is not copied with every child
        gc.disable()  # until trio runs: a collection during the imports finds nothing, and all of them take 15 ms

        from minikube.supervisor.daemon.launcher import run

        return run(files, options, sock, guardian_pipe, claim, server)
    except BaseException as error:
        import logging

        logging.getLogger(__name__).critical("the supervisor failed", exc_info=True)
        reason = str(error) if isinstance(error, OSError) else repr(error)  # only the text of an OSError names the file
        send_message(sock, {"error": f"the supervisor failed: {reason} — see {SUPERVISOR_LOG_NAME}", "exit_code": 1})
        return 1


def _leave_terminal(log: Path) -> None:
    """Replace stdin by /dev/null, and stdout and stderr by the file `log`, so that the process uses no terminal."""
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for target, source in ((0, null), (1, out), (2, out)):
        os.dup2(source, target)
    os.close(null)
    os.close(out)


def _close_inherited_descriptors(kept: int) -> None:
    """Close all descriptors above stderr but `kept`: the caller of `up` may wait for the end of its files and locks."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != kept:
            with contextlib.suppress(OSError):  # the one that the listing itself used
                os.close(descriptor)


def _wait(supervisor: int) -> int:
    """Wait for the exit of the process `supervisor`, and reap orphans meanwhile.

    Return the exit code, or minus the number of the signal that killed the supervisor.
    """
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == supervisor:
            return os.waitstatus_to_exitcode(status)


def _kill_descendants() -> None:
    """Kill all descendants of the guardian until none is alive, for `KILL_TIMEOUT_S` at most."""
    end = time.monotonic() + KILL_TIMEOUT_S
    own_pid = os.getpid()
    while time.monotonic() < end:
        # Reap first: the pid of a zombie would be found again and again.
        for pid in processes.children(own_pid):
            processes.reap(pid)
        alive = processes.descendants([own_pid])
        if not alive:
            return
        processes.kill_all(alive)
        time.sleep(KILL_INTERVAL_S)


def _remove_containers(directory: Path, status: int) -> None:
    """Kill and remove the containers that the supervisor could not remove because it was killed (`status` below 0).

    Where the supervisor exited by itself, containers are removed too, unless the engine had not answered it.
    """
    if os.path.exists(directory / CONTAINERS_FILE):  # Path.exists raises PermissionError, which would end the guardian
        # Late: only projects with containers need it.
        from minikube.engine.leftovers import read_engine_record, remove_leftovers
        from minikube.project.orphans import kill_orphans

        record = read_engine_record(directory)
        if status < 0 or not (record and record[1].given_up):
            # Processes of containers are no descendants of this one, and an engine that hangs ends none of them.
            kill_orphans(directory)
            remove_leftovers(directory)


def _remove_groups(directory: Path, name: str) -> None:
    """Remove the project's control groups. Those still in use after `GROUPS_TIMEOUT_S` are removed by the next `up`."""
    # A group can be removed only a moment after its last process was killed.
    end = time.monotonic() + GROUPS_TIMEOUT_S
    while not cgroup.remove_all(directory, name) and time.monotonic() < end:
        time.sleep(KILL_INTERVAL_S)
