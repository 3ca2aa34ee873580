"""Commands of other programs that a short command or the guardian waits for, such as `docker ps`: start them, read them, end them.

Each has a session of its own, /dev/null as stdin, and no descriptor but its streams. The signals that the user's shell has ignored
stay ignored, so that `nohup minikube build` holds for the build, too; all others have their default action. Whatever ends the wait
ends the whole group of the command: the time-out, an exception, Ctrl-C, or a signal that ends this process.

Standard library only, because the guardian imports it. `spawn` is the one place that starts a program which does not replace this
process. It refuses to serve trio tasks: for them, `supervisor.runtime` starts processes.
"""

import contextlib
import os
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

OUTPUT_LIMIT = 262_144
"""How many bytes of each stream are kept: what follows is read and dropped. A longer line is passed on in parts."""

READ_BYTES = 65_536

LAST_BYTES = 1_048_576
"""How many bytes of a stream are read after the exit: the most that a pipe holds (pipe-max-size, pipe(7))."""

END_GRACE_S = 0.5
"""The time from TERM to KILL for a command that is given up. An engine's command cancels its build in it."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end this process. Those of the terminal do not reach a command in a session of its own."""

ENDING_ACTIONS = (signal.SIG_DFL, signal.default_int_handler)
"""What a process does that has not decided otherwise: it ends; Python raises KeyboardInterrupt for SIGINT."""


class CommandResult(NamedTuple):
    """How a command ended, and its output."""

    status: int | None
    """The exit code, or minus the number of a signal; None: it could not be started, or was ended at the time-out."""
    stdout: str = ""
    stderr: str = ""
    error: str = ""
    """Why there is no status, such as `no such file or directory`."""


def spawn(
    argv: Sequence[str | bytes],
    env: Mapping[bytes, bytes] | Mapping[str, str],
    streams: tuple[int, int, int],
    *,
    program: bytes | None = None,
    umask: int = -1,
    close_descriptors: bool = True,
) -> "subprocess.Popen[bytes]":
    """Start a program as the leader of a new session with these three streams. Raises OSError.

    `close_descriptors` false: all descriptors of this process are closed at exec anyway.
    """
    # Without what would make subprocess fork: with vfork a start takes half the time. Not os.posix_spawn(), with which
    # the C library ignores the two signals that it keeps for itself.
    return subprocess.Popen(
        argv,
        executable=program,
        env=env,
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        umask=umask,
        start_new_session=True,
        restore_signals=close_descriptors,  # the fork server has no action to restore
        close_fds=close_descriptors,
    )


def run_command(
    argv: Sequence[str],
    *,
    timeout: float | None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> CommandResult:
    """Run a command until it exits, for `timeout` seconds at most (None: without a limit), and return its result.

    With `on_line`, both streams go there line by line, and the result has no output.
    """
    return run_commands([argv], timeout=timeout, env=env, on_line=on_line)[0]


def run_commands(
    commands: Sequence[Sequence[str]],
    *,
    timeout: float | None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> list[CommandResult]:
    """Run commands side by side until all have exited; return their results in order. See `run_command`."""
    end = None if timeout is None else time.monotonic() + timeout
    environment = dict(os.environ if env is None else env)
    started: list[_Command] = []
    # poll, not epoll: it needs no descriptor, of which there may be none left.
    with _EndingSignals() as signals, selectors.PollSelector() as selector:
        try:
            for argv in commands:
                started.append(_Command(selector, on_line))
                with signals.held():
                    started[-1].start(argv, environment)
            while any(command.runs for command in started):
                for key, _ in selector.select(None if end is None else max(end - time.monotonic(), 0.0)):
                    key.data()
                # Also where there was something to read: a command may write without end.
                if end is not None and time.monotonic() >= end:
                    break
        finally:
            _end(started)
    return [command.result(f"did not end in {timeout or 0:g} s") for command in started]


class _Command:
    """A command that was started, and what was read of its output so far."""

    def __init__(self, selector: selectors.BaseSelector, on_line: Callable[[str], object] | None) -> None:
        self.runs = False
        """Whether the command has started and is not known to have exited."""
        self._process: subprocess.Popen[bytes] | None = None
        self._error = ""
        self._selector = selector
        self._on_line = on_line
        self._output: dict[int, bytearray] = {}
        """What was read, by the pipe: of stdout, then of stderr."""
        self._pidfd = -1

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the command. A failure is kept for the result."""
        streams: list[int] = []
        try:
            streams.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            for _ in range(2 if self._on_line is None else 1):
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                streams.append(write_end)
                self._output[read_end] = bytearray()
                os.set_blocking(read_end, False)
            self._process = spawn(argv, env, (streams[0], streams[1], streams[-1]))
            self.runs = True
            self._pidfd = os.pidfd_open(self._process.pid)
        except (OSError, ValueError) as error:
            self._error = (getattr(error, "strerror", None) or str(error)).lower()
            self.runs = False
            return
        finally:
            for descriptor in streams:
                os.close(descriptor)
        for pipe in self._output:
            self._selector.register(pipe, selectors.EVENT_READ, partial(self._read, pipe))
        self._selector.register(self._pidfd, selectors.EVENT_READ, self._on_exit)

    def result(self, late: str) -> CommandResult:
        """Return the result; `late` is the error of a command that had not exited when it was ended."""
        if self._process is None or self._error or self.runs:
            return CommandResult(None, error=self._error or late)
        texts = [bytes(output).decode("utf-8", "replace") for output in self._output.values()]
        return CommandResult(self._process.returncode, *(texts if self._on_line is None else ()))

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the group of the command, unless the command has exited by itself: what it left is to go on."""
        if self._process is not None and (self.runs or self._error):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def wait_exit(self, timeout: float) -> None:
        """Wait for the exit for up to `timeout` seconds, without reaping: the pid, which names the group, stays taken."""
        if self.runs:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll(timeout * 1000)

    def close(self, timeout: float) -> None:
        """Reap the command, and close what this process has open of it.

        A process in uninterruptible sleep, which KILL does not end, is left behind after `timeout` seconds.
        """
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        for descriptor in (*self._output, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)

    def _read(self, pipe: int) -> int:
        """Read once from a pipe; return the number of bytes, 0 where there are none now."""
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return 0
        output = self._output[pipe]
        if self._on_line is None:
            output += data[: OUTPUT_LIMIT - len(output)]
        else:
            output += data
            *lines, rest = bytes(output).split(b"\n")
            if rest and (not data or len(rest) > OUTPUT_LIMIT):
                lines.append(rest)
                rest = b""
            output[:] = rest
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"))
        # `_on_exit` may have unregistered it in the same round of events.
        if not data and pipe in self._selector.get_map():
            self._selector.unregister(pipe)
        return len(data)

    def _on_exit(self) -> None:
        """Read what the command has left in its pipes, but wait for no process that has inherited them."""
        self._selector.unregister(self._pidfd)
        self.runs = False
        for pipe in self._output:
            if pipe in self._selector.get_map():
                # Bounded: such a process may write faster than this one reads.
                left = LAST_BYTES
                while left > 0 and (count := self._read(pipe)):
                    left -= count
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)


def _end(commands: Sequence[_Command]) -> None:
    """End the commands that still run, with their groups, and reap them all."""
    try:
        for command in commands:
            command.kill(signal.SIGTERM)
        end = time.monotonic() + END_GRACE_S
        for command in commands:
            command.wait_exit(max(end - time.monotonic(), 0.0))
    finally:  # also after another Ctrl-C
        for command in commands:
            command.kill(signal.SIGKILL)
        for command in commands:
            command.close(END_GRACE_S)


class _Signalled(BaseException):
    """A signal that ends this process has come. The argument is its number."""


class _EndingSignals:
    """A context in which signals that would end this process raise `_Signalled`, so that the commands are ended first."""

    def __init__(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()  # only there handlers can be set
        actions = {number: signal.getsignal(number) for number in ENDING_SIGNALS if is_main}
        self._actions = {number: action for number, action in actions.items() if action in ENDING_ACTIONS}
        """By signal: the action that this context replaces."""
        self._is_held = False
        self._came = 0

    def __enter__(self) -> "_EndingSignals":
        for number in self._actions:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, action in self._actions.items():
            signal.signal(number, action)
        if isinstance(error, _Signalled):
            os.kill(os.getpid(), error.args[0])  # SIGINT raises KeyboardInterrupt here

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raise a signal that comes meanwhile only at the end: of a start, the process is known by then."""
        # Not by a signal mask, which the process would inherit.
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            if self._came:
                raise _Signalled(self._came)

    def _on_signal(self, number: int, _: object) -> None:
        self._came = self._came or number
        if not self._is_held:
            raise _Signalled(number)
