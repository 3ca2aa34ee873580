"""The supervisor's parent (floor 3, standard library only): forked early, tiny, and the heir of every orphan.

    front (CLI) ── fork ──► guardian (own session, subreaper) ── fork ──► supervisor (trio)
         └────────── lifeline: a socket pair; commands down, news up ──────────┘

Down go `stop`, `now` and `detach`, a line each; the front's end without `detach` means `now`. Up goes JSON, a line each:
`{"ready": …}` or `{"error": …, "exit_code": n}` (and `{"ended": …}`) from the supervisor, `{"exit": status}` from the
guardian when nothing is left alive. When the supervisor dies, whatever it started becomes the guardian's and is killed,
children that called setsid included. When the guardian dies, the supervisor sees its end of a pipe close. It refuses to
hold any policy.
"""

import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from minikube.client.endpoint import SUPERVISOR_FILE, state_directory
from minikube.errors import StartError, Unavailable
from minikube.supervisor import cgroup, leftovers, tree

KILL_ROUND_S = 0.005
"""Between two looks at what is still alive: a fork may be under way during one."""

KILL_PATIENCE_S = 10.0
"""For processes that even KILL does not end (uninterruptible sleep): then the guardian gives up on them."""

GROUPS_PATIENCE_S = 1.0

_MESSAGE_LIMIT = 65_536


@dataclass(frozen=True)
class LaunchOptions:
    """How `up` was called. `only`: these services and what they need; empty: those of the `profiles` and all without one.

    `watch` applies the manifest whenever it is saved. `exit_with` is the service whose end is everybody's.
    `unbuilt`: services whose build failed just now; an older image of theirs does not count.
    """

    detach: bool = False
    only: tuple[str, ...] = field(default=())
    profiles: tuple[str, ...] = field(default=())
    watch: bool = False
    exit_with: str = ""
    unbuilt: tuple[str, ...] = field(default=())


class Lifeline:
    """The front's end. Every wait is bounded by its caller."""

    def __init__(self, sock: socket.socket, guardian: int) -> None:
        self._sock = sock
        self._guardian = guardian
        self._buffer = b""
        self._exit: int | None = None
        self.ended: dict[str, Any] | None = None
        """How the service of `exit_with` ended: `{"service": …, "how": "exit 3", "code": 3}`."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def wait_ready(self, timeout: float) -> dict[str, Any]:
        """`{"ready": …}` or `{"error": …, "exit_code": n}`. Raises `Unavailable` when neither comes in time."""
        message = self._next(timeout)
        if message is None:
            raise Unavailable(f"the supervisor said nothing for {timeout:g} s — see .minikube/logs/supervisor.log")
        if "exit" in message:
            return {"error": "the supervisor ended — see .minikube/logs/supervisor.log", "exit_code": 1}
        return message

    def stop(self) -> None:
        """Asks for a graceful stop, in reverse dependency order."""
        self._send(b"stop\n")

    def stop_now(self) -> None:
        """Asks for an end at once."""
        self._send(b"now\n")

    def detach(self) -> None:
        """From now on the front's end means nothing; nothing more can be asked or heard here."""
        self._send(b"detach\n")
        self._sock.close()

    def wait_exit(self, timeout: float) -> int | None:
        """The supervisor's exit status (minus the signal's number), once nothing is alive; None when time is up."""
        end = time.monotonic() + timeout
        while self._exit is None:
            message = self._next(end - time.monotonic())
            if message is None:
                return None
            self.ended = message.get("ended", self.ended)
            if "exit" in message:
                self._exit = int(message["exit"])
                self._reap()
                self._sock.close()
        return self._exit

    def _send(self, line: bytes) -> None:
        try:
            self._sock.send(line)
        except OSError:
            return  # it is gone already: wait_exit tells

    def _next(self, timeout: float) -> dict[str, Any] | None:
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._sock.recv(_MESSAGE_LIMIT)
            except TimeoutError:
                return None
            except OSError:
                data = b""
            if not data:
                return {"exit": -signal.SIGKILL}  # guardian and supervisor were killed together
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _reap(self) -> None:
        try:
            os.waitpid(self._guardian, 0)
        except ChildProcessError:
            return


def launch(manifest: Path, options: LaunchOptions) -> Lifeline:
    """Forks guardian and supervisor. Call it before threads exist and before anything heavy is imported."""
    state = state_directory(manifest)
    try:
        for directory in (state, state / "logs"):
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
        _say(theirs, {"error": f"guardian: {error}", "exit_code": 1})
    finally:
        os._exit(1)


def _guard(manifest: Path, options: LaunchOptions, sock: socket.socket, state: Path) -> NoReturn:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    _leave_terminal(state / "logs" / "supervisor.log")
    tree.become_subreaper()
    groups = cgroup.group_name(state)
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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
        _remove_containers(state, status)
        _end_groups(state, groups)
        (state / SUPERVISOR_FILE).unlink(missing_ok=True)
        leftovers.tidy(state)
    _say(sock, {"exit": status})
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
        from minikube.supervisor.main import run

        return run(manifest, options, sock, alive, lock)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        _say(sock, {"error": f"the supervisor failed: {error!r} — see .minikube/logs/supervisor.log", "exit_code": 1})
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
    end = time.monotonic() + KILL_PATIENCE_S
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
    if (state / "containers.json").exists():
        from minikube.supervisor.engine import recorded, sweep_recorded

        found = recorded(state)
        if status < 0 or not (found and found[1].given_up):
            sweep_recorded(state)


def _end_groups(state: Path, name: str) -> None:
    """A group can be removed a moment after its last member was killed; otherwise the next `up` does it."""
    end = time.monotonic() + GROUPS_PATIENCE_S
    while not cgroup.remove_all(state, name) and time.monotonic() < end:
        time.sleep(KILL_ROUND_S)


def _say(sock: socket.socket, message: dict[str, Any]) -> None:
    try:
        sock.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return  # the front has gone
