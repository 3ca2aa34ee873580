"""The connection to a running supervisor: a thread that runs trio with the control API's client.

Snapshots, each followed log and each command have a TCP connection of their own. After a lost connection it reconnects until
it is stopped, and looks the supervisor's address and token up again: a supervisor that was restarted may have others.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from minikube.control.client.endpoint import Endpoint, find_supervisor
from minikube.control.client.snapshot import apply_update
from minikube.control.client.trio import follow_logs, open_stream, send_command
from minikube.errors import MinikubeError
from minikube.model import LogLine, Snapshot
from tui.connection.interface import Command, PostMessage
from tui.connection.messages import (
    CommandFinished,
    ConnectionChanged,
    LogLinesReceived,
    LogsEnded,
    SnapshotReceived,
)

BATCH_S = 0.1
"""Seconds for which log lines are collected before they are posted."""

RETRY_S = (0.2, 0.5, 1.0)
"""Seconds between attempts to reconnect; the last one is used from the third attempt on."""

TAIL_LINES = 500
"""Lines of the past that are shown when a log is opened."""

BATCH_LINES = 2_000
"""The most lines in one message; of more, only the latest are shown, with a note."""


class TrioConnection:
    """A `SupervisorConnection` that runs trio in its thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._snapshot: Snapshot | None = None
        self._post: PostMessage = lambda message: None
        self._stopped = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._log_scope: trio.CancelScope | None = None
        self._followed: tuple[int, tuple[str, ...] | None] = (0, None)

    # ------------------------------------------------------------ called from the app's thread

    def run(self, post: PostMessage) -> None:
        """Run trio in this thread until `stop` is called."""
        self._post = post
        trio.run(self._main)

    def stop(self) -> None:
        """Make `run` return."""
        # The event is for a `run` that has not started trio yet, the cancellation for one that has.
        self._stopped.set()
        self._run_in_trio(self._cancel)

    def send_command(self, command: Command) -> None:
        """Send a command on a connection of its own; post `CommandFinished` with the result."""
        if not self._run_in_trio(lambda: self._start_command(command)):
            self._post(CommandFinished(command, "the dashboard is not connected yet"))

    def follow_logs(self, request: int, names: Sequence[str] | None) -> None:
        """Follow the logs of `names`, as `SupervisorConnection.follow_logs` says."""
        followed = (request, None if names is None else tuple(names))
        self._run_in_trio(lambda: self._start_following(followed))

    def _run_in_trio(self, function: Callable[[], object]) -> bool:
        """Schedule `function` in the trio thread; return whether trio is running there."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            return False
        return True

    # ------------------------------------------------------------ in the trio thread

    async def _main(self) -> None:
        """Run all tasks of the connection until `stop` cancels them."""
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as self._nursery:
                self._token = trio.lowlevel.current_trio_token()
                # `stop` may have been called before there was a token to cancel with.
                if self._stopped.is_set():
                    return
                await self._receive_snapshots()

    def _cancel(self) -> None:
        """Cancel everything that runs in trio."""
        if self._scope is not None:
            self._scope.cancel()

    async def _receive_snapshots(self) -> None:
        """Post every snapshot of `/v1/stream`; reconnect when the stream ends. Run until cancelled."""
        attempts = 0
        while True:
            try:
                async with open_stream(self._endpoint, self._on_silence) as stream:
                    self._snapshot = apply_update(None, await anext(stream))
                    self._post(ConnectionChanged("live"))
                    self._post(SnapshotReceived(self._snapshot))
                    attempts = 0
                    self._start_following(self._followed)
                    async for update in stream:
                        # Post without a delay: the supervisor batches updates, and the app skips to the newest one.
                        self._snapshot = apply_update(self._snapshot, update)
                        self._post(SnapshotReceived(self._snapshot))
            except* (MinikubeError, ValueError, OSError) as group:
                self._post(ConnectionChanged("lost", str(_first_error(group))))
            await trio.sleep(RETRY_S[min(attempts, len(RETRY_S) - 1)])
            attempts += 1
            self._find_endpoint()

    def _on_silence(self, is_silent: bool) -> None:
        """Post that the supervisor, which is still connected, has stopped or begun to answer."""
        self._post(ConnectionChanged("silent" if is_silent else "live"))

    def _find_endpoint(self) -> None:
        """Look the supervisor's address and token up again in the project's directory."""
        if self._snapshot is not None and self._snapshot.manifest:
            with contextlib.suppress(MinikubeError, OSError):
                self._endpoint = find_supervisor(Path(self._snapshot.manifest))

    # ------------------------------------------------------------ commands

    def _start_command(self, command: Command) -> None:
        """Start a task that sends the command."""
        if self._nursery is not None:
            self._nursery.start_soon(self._run_command, command)

    async def _run_command(self, command: Command) -> None:
        """Send a command and post its result."""
        try:
            await send_command(self._endpoint, command.verb, command.target)
        except (MinikubeError, OSError) as error:
            self._post(CommandFinished(command, str(error) or type(error).__name__))
        else:
            self._post(CommandFinished(command))

    # ------------------------------------------------------------ logs

    def _start_following(self, followed: tuple[int, tuple[str, ...] | None]) -> None:
        """Cancel the task that follows logs, and start one for `followed`, if there is any."""
        self._followed = followed
        if self._log_scope is not None:
            self._log_scope.cancel()
            self._log_scope = None
        request, names = followed
        if names is not None and self._nursery is not None:
            self._log_scope = trio.CancelScope()
            self._nursery.start_soon(self._follow, self._log_scope, request, names)

    async def _follow(self, scope: trio.CancelScope, request: int, names: tuple[str, ...]) -> None:
        """Post the lines of these logs until `scope` is cancelled or the response ends."""
        # It does not reconnect itself: `_receive_snapshots` calls `_start_following` whenever the stream is open again.
        with scope:
            try:
                async with follow_logs(self._endpoint, names, tail=TAIL_LINES) as lines:
                    self._post(LogLinesReceived(request, (), restarted=True))
                    waiting: list[LogLine] = []
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._post_lines, request, waiting)
                        while batch := await lines.read_batch():
                            waiting += batch
                            # Past this, stop reading: a flood fills the TCP connection, not this process's memory.
                            while len(waiting) > 10 * BATCH_LINES:
                                await trio.sleep(BATCH_S)
                        await trio.sleep(2 * BATCH_S)  # the last lines are still to be posted
                        nursery.cancel_scope.cancel()
                self._post(LogsEnded(request, "the output ended"))
            except* (MinikubeError, OSError) as group:
                self._post(LogsEnded(request, str(_first_error(group))))

    async def _post_lines(self, request: int, waiting: list[LogLine]) -> None:
        """Every `BATCH_S`, post the lines in `waiting` and clear it, until cancelled."""
        while True:
            await trio.sleep(BATCH_S)
            if waiting:
                lines = waiting[-BATCH_LINES:]
                missed = len(waiting) - len(lines)
                waiting.clear()
                self._post(LogLinesReceived(request, lines, missed=missed))


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in a group, however deep the groups are nested."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
