"""The state that the trio thread shares with the two Redis threads, and the calls between them.

The threads never touch the catalog: they call the `StoreListener` in the trio thread. Trio never waits for a thread
without a deadline.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from minikube.model import STORE_CONNECTING
from minikube.registry.redis.types import PendingRequest, StoreListener, StoreState, Write

LOGGER = logging.getLogger("minikube.registry")

RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Delays between attempts to connect; the last one repeats."""

T = TypeVar("T")


class ThreadBridge:
    """The data that the trio thread and the two Redis threads of one gateway share: settings, queue and flags."""

    def __init__(self, url: str, prefix: str, node_id: str) -> None:
        self.url, self.prefix, self.node_id = url, prefix, node_id
        self.nonce_prefix = os.urandom(6).hex()
        """What the nonces of this node's writes begin with."""
        self.state = StoreState("down", time.time(), STORE_CONNECTING)
        """Belongs to the trio thread."""
        self.down_since = time.monotonic()
        self.queue: deque[PendingRequest] = deque()
        self.wake = threading.Condition()
        """Notified when the queue or one of the flags below changed."""
        self.stopping = False
        self.resync_requested = False
        self.heartbeat_requested = False
        self.shares_renewals = False
        """Whether there are other registries that have to learn of lease renewals."""
        # Trio and the writer both raise it, without a lock: if one overwrites the other's value, the follower reads entries
        # again, and the catalog drops the known ones.
        self.applied_revision = 0
        """The follower skips entries up to this revision."""
        self.loaded = threading.Event()
        """Set when Redis was read for the first time."""
        self._listener: StoreListener | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def attach(self, listener: StoreListener) -> None:
        """Set the listener, and the running trio loop as the one that the threads call."""
        self._listener = listener
        self._token = trio.lowlevel.current_trio_token()

    @property
    def listener(self) -> StoreListener:
        """The `StoreListener` that gets the data that the threads read. Set by `attach`."""
        assert self._listener is not None, "the threads run after `attach` only"
        return self._listener

    def unavailable_text(self) -> str:
        """Return the error text of a write that cannot be done, in one line."""
        return f"store unavailable: {self.state.detail or 'Redis does not answer'}"

    # ------------------------------------------------------------ called by trio or by a thread

    def request_heartbeat(self) -> None:
        """Have the writer send its heartbeat now: it finds out what is wrong with Redis."""
        with self.wake:
            self.heartbeat_requested = True
            self.wake.notify_all()

    def request_resync(self) -> None:
        """Have the writer read all of Redis again."""
        with self.wake:
            self.resync_requested = True
            self.wake.notify_all()

    # ------------------------------------------------------------ called by the threads

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the trio thread and return its result. Raises trio.RunFinishedError or trio.Cancelled at the end."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def report_state(self, state: str, detail: str = "") -> None:
        """Set the state of Redis, `ok` or `down`, in the trio thread, without waiting."""
        if (self.state.state, self.state.detail) != (state, detail):
            self._call_soon(lambda: self._set_state(state, detail))

    def finish(self, answered: Sequence[PendingRequest]) -> None:
        """Wake the callers of answered requests in the trio thread, after everything that was handed over before."""
        if answered:
            requests = tuple(answered)
            self._call_soon(lambda: self._finish(requests))

    # ------------------------------------------------------------ inside

    def _call_soon(self, function: Callable[[], object]) -> None:
        if self._token is None:
            return
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:  # the process ends without `stop`
            self.stopping = True

    def _finish(self, answered: Sequence[PendingRequest]) -> None:
        # All writes are applied before any caller runs; a caller that was cancelled changes nothing of what is stored.
        for pending in answered:
            if isinstance(pending.request, Write) and pending.result is not None and pending.result.committed:
                self.listener.on_committed(pending.request, pending.result, pending.nonce)
        for pending in answered:
            pending.done.set()

    def _set_state(self, state: str, detail: str) -> None:
        if (self.state.state, self.state.detail) == (state, detail):
            return
        before = self.state
        self.state = StoreState(state, before.since if before.state == state else time.time(), detail)
        if before.ok and not self.state.ok:
            self.down_since = time.monotonic()
        if self.state.ok:
            LOGGER.info("store: connected")
        else:
            LOGGER.warning("store: %s; lookups are answered from memory, writes are refused", detail)
        self.listener.on_state(self.state)
