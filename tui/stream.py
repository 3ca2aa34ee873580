"""The real feed (floor 4): a thread that runs trio with the shipped client, and speaks to the app in messages.

One connection for the board, one for each followed log, one for each act. What comes together is passed on
together. When the supervisor is away, it looks for it again, also at another address, until it is told to stop.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from minikube.control.client.endpoint import Endpoint, find_supervisor
from minikube.control.client.snapshot import apply_update
from minikube.control.client.trio import follow_logs, open_stream, send_command
from minikube.errors import MinikubeError, NotFound
from minikube.model import LogLine, Snapshot
from tui.feed import Act, ActDone, Linked, LogBatch, LogEnded, Post, Updated

BATCH_S = 0.1
"""Lines that come faster than ten times a second are gathered."""

RETRY_S = (0.2, 0.5, 1.0)
"""Waits between attempts to reach the supervisor; the last one from then on."""

TAIL = 500
BATCH_LINES = 2_000
"""Lines that are passed on at once; of a greater flood only the latest, with a notice."""


class StreamFeed:
    """See `tui.feed.Feed`. Knows the latest snapshot, so that it can look for a supervisor that came back elsewhere."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._snapshot: Snapshot | None = None
        self._post: Post = lambda message: None
        self._stopped = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._log_scope: trio.CancelScope | None = None
        self._followed: tuple[int, tuple[str, ...] | None] = (0, None)

    # ------------------------------------------------------------ from the app's thread

    def run(self, post: Post) -> None:
        self._post = post
        trio.run(self._main)

    def stop(self) -> None:
        self._stopped.set()
        self._soon(self._cancel)

    def act(self, act: Act) -> None:
        if not self._soon(lambda: self._begin_act(act)):
            self._post(ActDone(act, "the dashboard is not connected yet"))

    def follow(self, ticket: int, names: Sequence[str] | None) -> None:
        wanted = (ticket, None if names is None else tuple(names))
        self._soon(lambda: self._begin_follow(wanted))

    def _soon(self, call: Callable[[], object]) -> bool:
        """Have `call` run in the trio thread; whether there is one."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            return False
        return True

    # ------------------------------------------------------------ in the trio thread

    async def _main(self) -> None:
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as self._nursery:
                self._token = trio.lowlevel.current_trio_token()
                if self._stopped.is_set():
                    return
                await self._keep_streaming()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def _keep_streaming(self) -> None:
        tries = 0
        while True:
            try:
                async with open_stream(self._endpoint) as stream:
                    self._snapshot = apply_update(None, await anext(stream))
                    self._post(Linked("live"))
                    self._post(Updated(self._snapshot))
                    tries = 0
                    self._begin_follow(self._followed)
                    async for update in stream:
                        # At once: the board gathers, and of what waits in the app only the newest is shown.
                        self._snapshot = apply_update(self._snapshot, update)
                        self._post(Updated(self._snapshot))
            except* (MinikubeError, ValueError, OSError) as group:
                self._post(Linked("lost", str(_first(group))))
            await trio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
            self._look_again()

    def _look_again(self) -> None:
        """A supervisor that was started anew may listen elsewhere, with another token."""
        if self._snapshot is not None and self._snapshot.manifest:
            with contextlib.suppress(MinikubeError, OSError):
                self._endpoint = find_supervisor(Path(self._snapshot.manifest))

    # ------------------------------------------------------------ acts

    def _begin_act(self, wanted: Act) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._do, wanted)

    async def _do(self, wanted: Act) -> None:
        try:
            await send_command(self._endpoint, wanted.verb, wanted.target)
        except (MinikubeError, OSError) as error:
            self._post(ActDone(wanted, str(error) or type(error).__name__))
        else:
            self._post(ActDone(wanted))

    # ------------------------------------------------------------ logs

    def _begin_follow(self, wanted: tuple[int, tuple[str, ...] | None]) -> None:
        self._followed = wanted
        if self._log_scope is not None:
            self._log_scope.cancel()
            self._log_scope = None
        ticket, names = wanted
        if names is not None and self._nursery is not None:
            self._log_scope = trio.CancelScope()
            self._nursery.start_soon(self._follow, self._log_scope, ticket, names)

    async def _follow(self, scope: trio.CancelScope, ticket: int, names: tuple[str, ...]) -> None:
        """Until another is followed. Ends at the end of the answer: the next connection of the stream begins it anew."""
        with scope:
            try:
                async with follow_logs(self._endpoint, names, tail=TAIL) as lines:
                    self._post(LogBatch(ticket, (), restarted=True))
                    waiting: list[LogLine] = []
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._publish_lines, ticket, waiting)
                        while batch := await lines.read_batch():
                            waiting += batch
                            # Past this, reading pauses and the connection pushes back on the supervisor.
                            while len(waiting) > 10 * BATCH_LINES:
                                await trio.sleep(BATCH_S)
                        await trio.sleep(2 * BATCH_S)
                        nursery.cancel_scope.cancel()
                self._post(LogEnded(ticket, "the output ended"))
            except* NotFound as group:
                self._post(LogEnded(ticket, str(_first(group))))
            except* (MinikubeError, OSError) as group:
                self._post(LogEnded(ticket, str(_first(group))))

    async def _publish_lines(self, ticket: int, waiting: list[LogLine]) -> None:
        while True:
            await trio.sleep(BATCH_S)
            if waiting:
                lines = waiting[-BATCH_LINES:]
                missed = len(waiting) - len(lines)
                waiting.clear()
                self._post(LogBatch(ticket, lines, missed=missed))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
