"""The dashboard in a process of its own: however it ends, the caller lives on and has a usable terminal.

The dashboard's process writes one JSON object to a pipe before it exits. Where that does not say that the terminal is
restored, for instance after `kill -9`, this process restores it. It refuses to decide what the end means for the project.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from minikube.cli.lifecycle.process_exit import describe_exit
from minikube.cli.lifecycle.terminal_modes import TerminalModes
from minikube.errors import MinikubeError
from minikube.linux import processes
from minikube.logs.file_format import OWN_STREAM, encode_lines
from minikube.project_dir import dashboard_log, project_dir

if TYPE_CHECKING:
    from minikube.control.client.endpoint import Endpoint
    from minikube.supervisor.daemon.ipc import SupervisorHandle

END_TIMEOUT_S = 3.0
"""From a signal to this process until a dashboard that has not exited is killed."""

CONTINUE_DELAY_S = 0.05
"""After this process was continued: the time in which the shell continues the dashboard, too."""

REPORT_LIMIT = 65_536
"""The most characters of a report that are kept; the end of a traceback is the part that explains."""

REASON_LIMIT = 1_000
"""The most characters of a reason: the message must fit into a pipe that is read after the child's exit."""

FORWARDED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DashboardCrashed(MinikubeError):
    """The dashboard ended although the user did not quit it. The text has the reason and the file with the report."""


class DashboardProcess:
    """Runs the dashboard in a child process, and waits for its end."""

    def __init__(self, endpoint: Endpoint, manifest: Path, *, supervisor: SupervisorHandle | None = None) -> None:
        """Show the project at `endpoint`. A report of a crash goes to the logs beside `manifest`.

        `supervisor` is the connection of `up` to the supervisor that it has started: the dashboard ends with it. None: another
        command has started it.
        """
        self._endpoint = endpoint
        self._manifest = manifest
        self._supervisor = supervisor
        self._end_signal = 0
        """The signal by which the dashboard was told to exit; 0: none."""
        self._can_stop = signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN and _has_job_control()
        """Whether this process stops with its dashboard: a shell can continue it."""
        self._suspending = False
        """Whether this process got TSTP, which it passes on: the dashboard leaves the alternate screen before it stops."""

    def run(self) -> str:
        """Show the dashboard and return its answer: `quit`, `stop`, `detach` or `interrupt`.

        Raises DashboardCrashed, with the terminal restored, when it ended in any other way than by `end`. Call it on the main
        thread, while this process has no other thread: a fork copies only the calling one.
        """
        modes = TerminalModes(0, 2)
        read_end, write_end = os.pipe()
        with _wakeups(self._suspend if self._can_stop else None) as wakeup_fd:
            sys.stdout.flush()
            sys.stderr.flush()
            parent = os.getpid()
            child = os.fork()
            if not child:
                os.close(read_end)
                self._run_child(write_end, parent)
            os.close(write_end)
            status = self._wait(child, wakeup_fd)
        message = _read_message(read_end)
        if answer := message.get("answer"):
            return answer
        if message.get("terminal") != "restored":
            modes.restore()
        if self._end_signal:
            return "interrupt" if self._end_signal == signal.SIGINT else "quit"
        reason = message.get("reason") or describe_exit(os.waitstatus_to_exitcode(status))
        raise DashboardCrashed(f"the dashboard ended: {reason} — {message.get('saved') or self._save(reason, '')}")

    def end(self, number: int = signal.SIGTERM) -> None:
        """Tell the dashboard with a signal to exit; kill it after `END_TIMEOUT_S`. May be called in a signal handler."""
        self._end_signal = self._end_signal or number  # `_wait` sends it: it is woken by each signal

    def _suspend(self, *_: object) -> None:
        """Handle TSTP."""
        self._suspending = True

    @contextmanager
    def end_on_signals(self) -> Iterator[None]:
        """Forward INT, TERM and HUP to the dashboard until the `with` block ends."""
        previous = {number: signal.signal(number, lambda number, _: self.end(number)) for number in FORWARDED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _wait(self, child: int, wakeup_fd: int) -> int:
        """Wait for the exit of the child; return its wait status. While the child is stopped, stop this process, too."""
        kill_at = continue_at = math.inf
        supervisor = self._supervisor
        while True:
            pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
                return status
            now = time.monotonic()
            if pid and os.WIFSTOPPED(status) and self._can_stop:
                # The shell looks at this process, the leader of its job. `fg` continues both, `kill -CONT PID` only this one.
                os.kill(os.getpid(), signal.SIGSTOP)
                continue_at = time.monotonic() + CONTINUE_DELAY_S
            elif pid:
                continue_at = math.inf
            elif now >= continue_at:
                continue_at = math.inf
                os.kill(child, signal.SIGCONT)
            if self._suspending:
                self._suspending = False
                os.kill(child, signal.SIGTSTP)
            if self._end_signal and kill_at == math.inf:
                kill_at = now + END_TIMEOUT_S
                os.kill(child, self._end_signal)
                os.kill(child, signal.SIGCONT)  # a stopped process gets a signal once it is continued
            elif now >= kill_at:
                os.kill(child, signal.SIGKILL)
            wake_at = min(kill_at, continue_at)
            timeout = None if wake_at == math.inf else max(0.01, wake_at - time.monotonic())
            watched = [wakeup_fd, supervisor.fileno()] if supervisor else [wakeup_fd]
            readable = select.select(watched, [], [], timeout)[0]
            if supervisor and readable != [wakeup_fd] and (code := supervisor.wait_exit(0.0)) is not None:
                supervisor = None
                # A short stop may be over before the dashboard has seen it. Where the supervisor was killed, what was last
                # known stays on the screen.
                if code >= 0:
                    self.end()
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup_fd, 4096)

    def _run_child(self, write_end: int, parent: int) -> NoReturn:
        """Run the dashboard in the child process, write the message about its end, and exit."""
        code = 1
        message: dict[str, str] = {}
        try:
            signal.set_wakeup_fd(-1)
            for number in (*FORWARDED_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGTSTP, signal.SIG_DFL if self._can_stop else signal.SIG_IGN)
            if self._supervisor is not None:
                self._supervisor.close_in_child()  # the end of `up` alone must end the connection
            processes.exit_with_parent(parent, signal.SIGHUP)
            from tui import DashboardError, run_dashboard

            try:
                message = {"answer": run_dashboard(self._endpoint, owner=self._supervisor is not None)}
                code = 0
            except DashboardError as error:
                reason = str(error)[:REASON_LIMIT]
                message = {"terminal": "restored", "reason": reason, "saved": self._save(reason, error.report)}
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"[:REASON_LIMIT]
            message = {"reason": reason, "saved": self._save(reason, traceback.format_exc())}
        finally:
            with contextlib.suppress(OSError):
                if message:
                    os.write(write_end, json.dumps(message).encode())
            os._exit(code)

    def _save(self, reason: str, report: str) -> str:
        """Append a report to the dashboard's log; return words that name the file."""
        path = dashboard_log(project_dir(self._manifest))
        # In the form of captured logs, as a service may have the name of this file.
        lines = f"the dashboard ended: {reason}\n{report[-REPORT_LIMIT:]}".rstrip("\n") + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "ab", buffering=0) as file:
                file.write(encode_lines(OWN_STREAM, lines.encode("utf-8", "backslashreplace"), "plain"))
        except OSError as error:
            return f"its report could not be written to {path}: {(error.strerror or str(error)).lower()}"
        return f"see {path}"


@contextmanager
def _wakeups(on_suspend: Callable[..., None] | None) -> Iterator[int]:
    """Return a descriptor that is readable after each signal, also after CHLD, until the `with` block ends.

    `on_suspend` handles TSTP; None: the signal's handler stays as it is.
    """
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None)}
    if on_suspend is not None:
        previous[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, on_suspend)
    previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(read_end)
        os.close(write_end)


def _has_job_control() -> bool:
    """Return whether the parent is a shell that continues this process after a stop."""
    # As the kernel decides, which stops no process of an orphaned group with TSTP: the parent is in the same session, and in
    # another group. Without it, Ctrl-Z would stop `exec minikube up` for ever.
    try:
        parent = os.getppid()
        return os.getsid(parent) == os.getsid(0) and os.getpgid(parent) != os.getpgrp()
    except OSError:
        return False


def _read_message(descriptor: int) -> dict[str, str]:
    """Return the message that the child has written to the pipe, and close it; empty where there is none."""
    with open(descriptor, "rb") as pipe:
        data = pipe.read()
    return dict(json.loads(data)) if data else {}
