"""The real feed (floor 4): a thread that runs trio with the shipped client, and hands messages up.

Up go whole snapshots, at most one every `PACE_S`; down come acts through the trio token. The link is tried again for as long as the
dashboard lives, sooner first. It refuses to touch a widget.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import trio

from minikube.client.control import Endpoint
from minikube.client.live import act as ask_act
from minikube.client.live import follow_logs, open_stream
from minikube.client.view import catch_up
from minikube.errors import MinikubeError
from minikube.model import LogLine, Snapshot
from tui.feed import Act, ActDone, Linked, LogBatch, LogEnded, Post, Updated

PACE_S = 0.1
RETRY_S = (0.1, 0.2, 0.5, 1.0)
TAIL = 500
BATCH_LIMIT = 2_000
"""Lines handed up at once; of a flood only the newest are shown, and how many were left out."""


class StreamFeed:
    """A `Feed` on a supervisor's stream."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._token: trio.lowlevel.TrioToken | None = None
        self._stopped = False
        self._scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._following: trio.CancelScope | None = None
        self._post: Post = lambda _: None

    def run(self, post: Post) -> None:
        self._post = post
        trio.run(self._main)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._down(self._cancel)

    def act(self, act: Act) -> None:
        self._down(self._begin_act, act)

    def follow(self, ticket: int, names: Sequence[str] | None) -> None:
        self._down(self._begin_follow, ticket, names)

    # ------------------------------------------------------------ in the feed's thread

    def _down(self, function: Callable[..., Any], *args: Any) -> None:
        with self._lock:
            token = self._token
        if token is not None:
            try:
                token.run_sync_soon(function, *args)
            except trio.RunFinishedError:
                return

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _begin_act(self, act: Act) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._act, act)

    def _begin_follow(self, ticket: int, names: Sequence[str] | None) -> None:
        if self._following is not None:
            self._following.cancel()
            self._following = None
        if names is not None and self._nursery is not None:
            self._following = trio.CancelScope()
            self._nursery.start_soon(self._follow, ticket, tuple(names), self._following)

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._scope, self._nursery = nursery.cancel_scope, nursery
            with self._lock:
                self._token = trio.lowlevel.current_trio_token()
                stopped = self._stopped
            if stopped:
                return
            nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        tries = 0
        while True:
            try:
                async with open_stream(self._endpoint) as stream:
                    snapshot: Snapshot | None = None
                    async for update in stream:
                        if snapshot is None:
                            self._post(Linked("live"))
                        snapshot = catch_up(snapshot, update)
                        tries = 0
                        self._post(Updated(snapshot))
                        await trio.sleep(PACE_S)
                detail = "the supervisor closed the stream"
            except MinikubeError as error:
                detail = str(error)
            self._post(Linked("lost", detail))
            await trio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1

    async def _act(self, act: Act) -> None:
        try:
            await ask_act(self._endpoint, act.verb, act.target)
        except MinikubeError as error:
            self._post(ActDone(act, str(error)))
        else:
            self._post(ActDone(act))

    async def _follow(self, ticket: int, names: tuple[str, ...], scope: trio.CancelScope) -> None:
        """Follows until told otherwise; a link that breaks is tried again, and the lines begin anew."""
        with scope:
            while True:
                try:
                    async with follow_logs(self._endpoint, names, tail=TAIL) as lines:
                        restarted = True
                        while batch := await lines.batch():
                            missed = max(len(batch) - BATCH_LIMIT, 0)
                            self._post(_batch(ticket, batch[missed:], restarted, missed))
                            restarted = False
                            await trio.sleep(PACE_S)
                except MinikubeError as error:
                    self._post(LogEnded(ticket, str(error)))
                await trio.sleep(RETRY_S[-1])


def _batch(ticket: int, lines: Sequence[LogLine], restarted: bool, missed: int) -> LogBatch:
    return LogBatch(ticket, lines, restarted=restarted, missed=missed)
