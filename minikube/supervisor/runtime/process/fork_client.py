"""The supervisor's connection to its fork server: start it, send it requests, read what each child tells on its status pipe.

The first processes (Redis and the registry) are requested before trio is imported, so trio is imported late here. It refuses to
remember the children: `process_table` does.
"""

import array
import contextlib
import io
import marshal
import os
import resource
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from minikube.errors import ResourceExhausted
from minikube.linux.exec_context import ExecContext, ExecFailure
from minikube.supervisor.runtime.process.fork_server import IN_FILE, JOIN, MESSAGE_BYTES, PID, serve

if TYPE_CHECKING:
    import trio

ANSWER_TIMEOUT_S = 10.0
"""How long a fork server may take until the new process tells its pid, and the process until its exec. Normally: 2 ms."""

MOST_REQUESTS = 8
"""How many requests wait for a pid at the same time. Each needs six descriptors, and the fork server serves one by one."""

RESERVED_DESCRIPTORS = 48
"""Kept for the control API, logs and the commands of a stop: a service that would need one of them is not started."""

STATUS_BYTES = 16_384
"""More than the longest message: a path has 4,096 bytes at most."""


class ForkServerGone(Exception):
    """The fork server ended, or does not answer; the request has had no effect."""


class ProcessStart:
    """One start: the output pipes of the new process, its pid once it is known, and the failure, if any."""

    def __init__(self, stdout: int, stderr: int, status: int) -> None:
        self.stdout = stdout
        """The read end of a pipe, or -1 after `close`; like `stderr`."""
        self.stderr = stderr
        self.pid = 0
        """0: not known yet, or not created."""
        self.failure: ExecFailure | None = None
        self.status = status
        """The read end of the status pipe; -1 once it has been read to its end."""
        self._received = b""

    def read(self) -> None:
        """Read what is in the status pipe; wait where it is empty. At its end the start has completed: executed or failed."""
        while data := os.read(self.status, STATUS_BYTES):
            self._received += data
            # The end mostly follows at once: not to wait for it once more takes a twentieth off a start.
            if not _is_readable(self.status):
                break
        if self._received and not self.pid:
            stage, number, _ = marshal.loads(self._received)
            self.pid = number if stage == PID else 0
        if data:
            return
        os.close(self.status)
        self.status = -1
        messages = io.BytesIO(self._received)
        while messages.tell() < len(self._received):
            stage, number, path = marshal.load(messages)
            if stage != PID:
                self.failure = ExecFailure(stage, number, os.fsdecode(path))

    def wait(self) -> None:
        """Wait, without trio, until the start has completed."""
        while self.status >= 0:
            self.read()

    @property
    def is_lost(self) -> bool:
        """Whether the fork server died before it created a process."""
        return self.status < 0 and not self.pid and self.failure is None

    def close(self) -> None:
        """Close the descriptors that are open. The process, if there is one, is not ended."""
        for descriptor in {self.stdout, self.stderr, self.status} - {-1}:
            os.close(descriptor)
        self.stdout = self.stderr = self.status = -1


class ForkServer:
    """The connection to a fork server. What that starts becomes a child of this process, which must be a subreaper."""

    def __init__(self, sock: socket.socket, group: int) -> None:
        """`group` is the process group of the fork server and its standby."""
        self.is_gone = False
        """Whether it has ended, or was killed because it did not answer."""
        self._sock = sock
        self._group = group
        self._writing: trio.Lock | None = None
        """Held by the request that is being sent: trio lets one task only wait until a descriptor is writable."""

    def begin(self, context: ExecContext) -> ProcessStart:
        """Request a process, without trio; return its start, which has not completed. Raises OSError and ValueError."""
        start, descriptors = _open_pipes(True)
        try:
            self._send(context, descriptors)
        except BaseException:
            start.close()
            raise
        finally:
            _close_all(descriptors)
        return start

    def join_group(self, directory: bytes) -> None:
        """Request that the fork server joins the control group of the next start, which then is faster. Raises OSError."""
        self._sock.send(JOIN + directory, socket.MSG_DONTWAIT)

    async def request(self, context: ExecContext, may_use_reserve: bool) -> ProcessStart:
        """Request a process; return its start, which has not completed.

        Raises OSError, ValueError, `ResourceExhausted`, and `ForkServerGone` after `ANSWER_TIMEOUT_S` as well.
        """
        import trio

        start, descriptors = _open_pipes(may_use_reserve)
        try:
            self._writing = self._writing or trio.Lock()
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                async with self._writing:
                    while not self.is_gone:
                        try:
                            self._send(context, descriptors)
                            return start
                        except BlockingIOError:  # other requests fill the buffer
                            await trio.lowlevel.wait_writable(self._sock)
            self.kill()
            raise ForkServerGone
        except (BrokenPipeError, ConnectionError, trio.ClosedResourceError):
            self.close()
            start.close()
            raise ForkServerGone from None
        except BaseException:
            start.close()
            raise
        finally:
            _close_all(descriptors)

    def _send(self, context: ExecContext, descriptors: list[int]) -> None:
        for text in (*context.argv, *context.env, *context.env.values(), context.cwd):
            if b"\0" in text:
                raise ValueError("embedded null byte")
        fields: tuple[Any, ...] = tuple(context)
        body = marshal.dumps(fields)
        if len(body) <= MESSAGE_BYTES:
            self._send_message(body, descriptors)
            return
        # A message is sent whole or not at all, and so must fit into the socket's buffer. An environment may have megabytes.
        file = os.memfd_create("request")
        try:
            os.truncate(file, len(body))
            os.pwrite(file, body, 0)
            self._send_message(IN_FILE, [*descriptors, file])
        finally:
            os.close(file)

    def _send_message(self, text: bytes, descriptors: list[int]) -> None:
        # Not socket.send_fds(), which ignores its flags in Python 3.11: a fork server that hangs would block the trio thread.
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        self._sock.sendmsg([text], [rights], socket.MSG_DONTWAIT)

    def kill(self) -> None:
        """Kill the fork server and its standby, which do not answer; the requests that they have not served are lost."""
        if not self.is_gone:
            # While one of them has the socket open, no other process group has the number.
            if not _is_hung_up(self._sock):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._group, signal.SIGKILL)
            self.close()

    def close(self) -> None:
        """Close the connection: the fork server exits."""
        self.is_gone = True
        if self._writing is not None and self._writing.locked():
            import trio

            # Else a task would go on to wait on a number that may be the next fork server's by then.
            trio.lowlevel.notify_closing(self._sock)
        self._sock.close()


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _is_hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def fork_server() -> ForkServer:
    """Fork this process, which must have one thread only, into a fork server; return the connection to it."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            here.detach()
            serve(there)
        finally:
            os._exit(1)
    there.close()
    return ForkServer(here, pid)


def execute_server(soft_limit: int) -> ForkServer:
    """Start a fork server with a new interpreter, which takes some 50 ms; return the connection to it. Raises OSError.

    `soft_limit` is the limit on descriptors of the processes that it starts. For a process with threads: the new one uses none
    of its memory, which another thread may be changing.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mode = "-I" if sys.flags.isolated else "-P"
    argv = [sys.executable, mode, "-m", serve.__module__, "3", str(soft_limit)]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, there.fileno(), 3)]
        pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
    except OSError:
        here.close()
        raise
    finally:
        there.close()
    return ForkServer(here, pid)


def _open_pipes(may_use_reserve: bool) -> tuple[ProcessStart, list[int]]:
    """Return a new start, and the descriptors for its process: the write ends of the status, stdout and stderr pipes.

    Raises OSError when no descriptor is left, `ResourceExhausted` when only reserved ones are.
    """
    ends: list[int] = []
    try:
        for _ in range(3):
            ends += os.pipe2(os.O_CLOEXEC)
    except OSError:
        _close_all(ends)
        raise
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # The kernel gives the lowest free number: all numbers below the highest one are taken.
    if not may_use_reserve and max(ends) >= limit - min(RESERVED_DESCRIPTORS, limit // 4):
        _close_all(ends)
        raise ResourceExhausted(
            f"no file descriptor is left for it (the limit is {limit}) — raise it with `ulimit -n`; trying again"
        )
    status, child_status, stdout, child_stdout, stderr, child_stderr = ends
    os.set_blocking(stdout, False)
    os.set_blocking(stderr, False)
    return ProcessStart(stdout, stderr, status), [child_status, child_stdout, child_stderr]


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
