"""The supervisor's parent (floor 3, standard library only): forked early, tiny, and the heir of every orphan.

    front (CLI) ── fork ──► guardian (own session, subreaper) ── fork ──► supervisor (trio)
         └────────── lifeline: a socket pair; commands down, news up ──────────┘

What is said there stands in `lifeline`. When the supervisor dies, whatever it started becomes the guardian's and is killed,
children that called setsid included. When the guardian dies, the supervisor sees its end of a pipe close. It refuses to
hold any policy.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from minikube.errors import StartError
from minikube.linux import cgroup
from minikube.linux import processes as tree
from minikube.project import orphans as leftovers
from minikube.project_dir import (
    CONTAINERS_FILE,
    LOCK_FILE,
    SUPERVISOR_FILE,
    log_dir,
    project_dir,
    record_run_end,
    supervisor_log,
)
from minikube.supervisor.daemon.ipc import Lifeline, say
from minikube.supervisor.launch_options import LaunchOptions

KILL_ROUND_S = 0.005
"""Between two looks at what is still alive: a fork may be under way during one."""

GIVE_UP_S = 10.0
"""For processes that even KILL does not end (uninterruptible sleep): then the guardian gives up on them."""

GROUPS_PATIENCE_S = 1.0


def launch(manifest: Path, options: LaunchOptions) -> Lifeline:
    """Forks guardian and supervisor. Call it before threads exist and before anything heavy is imported."""
    state = project_dir(manifest)
    try:
        for directory in (state, log_dir(state)):
            directory.mkdir(mode=0o700, exist_ok=True)
        state.chmod(0o700)
    except OSError as error:
        raise StartError(f"{state}: cannot keep state there: {error.strerror} — make the directory writable") from None
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return Lifeline(ours, pid)
    try:
        ours.close()
        _guard(manifest, options, theirs, state)
    except BaseException as error:
        say(theirs, {"error": f"guardian: {error}", "exit_code": 1})
    finally:
        os._exit(1)


def _guard(manifest: Path, options: LaunchOptions, sock: socket.socket, state: Path) -> NoReturn:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    _leave_terminal(supervisor_log(state))
    tree.become_subreaper()
    groups = cgroup.group_name(state)
    lock = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    alive, kept = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(kept)
        os._exit(_supervise(manifest, options, sock, alive, lock))
    os.close(alive)
    signal.signal(signal.SIGTERM, lambda *_: tree.send(supervisor, signal.SIGTERM))
    status = _wait(supervisor)
    _end_all()
    if _is_held(lock):
        if status < 0:
            record_run_end(state, f"the supervisor was killed by signal {-status}")
        _remove_containers(state, status)
        _end_groups(state, groups)
        (state / SUPERVISOR_FILE).unlink(missing_ok=True)
        leftovers.tidy(state)
    say(sock, {"exit": status})
    os._exit(0)


def _is_held(lock: int) -> bool:
    """Whether the directory is ours: the lock that the supervisor took is this very open file, and lasts until we go.
    Otherwise another `up` has it, ours was refused, and nothing there is ours to end."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _supervise(manifest: Path, options: LaunchOptions, sock: socket.socket, alive: int, lock: int) -> int:
    """The supervisor's process: everything heavy is imported here."""
    try:
        from minikube.supervisor.daemon.launcher import run

        return run(manifest, options, sock, alive, lock)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        say(sock, {"error": f"the supervisor failed: {error!r} — see .minikube/logs/supervisor.log", "exit_code": 1})
        return 1


def _leave_terminal(log: Path) -> None:
    """Nothing of ours may hold, read or write the terminal of the front."""
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for target, source in ((0, null), (1, out), (2, out)):
        os.dup2(source, target)
    os.close(null)
    os.close(out)


def _wait(supervisor: int) -> int:
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == supervisor:
            return os.waitstatus_to_exitcode(status)


def _end_all() -> None:
    """Kills everything that was inherited, until none is left."""
    end = time.monotonic() + GIVE_UP_S
    me = os.getpid()
    while time.monotonic() < end:
        for pid in tree.children(me):
            tree.reap(pid)
        left = tree.descendants([me])
        if not left:
            return
        tree.kill_all(left)
        time.sleep(KILL_ROUND_S)


def _remove_containers(state: Path, status: int) -> None:
    """Those of a supervisor that was killed: it had no time to. One that gave up on its engine has said so."""
    if (state / CONTAINERS_FILE).exists():
        from minikube.engine.engine import recorded, sweep_recorded

        found = recorded(state)
        if status < 0 or not (found and found[1].given_up):
            sweep_recorded(state)


def _end_groups(state: Path, name: str) -> None:
    """A group can be removed a moment after its last member was killed; otherwise the next `up` does it."""
    end = time.monotonic() + GROUPS_PATIENCE_S
    while not cgroup.remove_all(state, name) and time.monotonic() < end:
        time.sleep(KILL_ROUND_S)
