"""Redis as the rest of the registry uses it: queue a write, wait for its result, read whether Redis can be used.

Two threads do the work: the writer (`writer.py`) and the follower (`follower.py`). Both are daemons: at the end they are
asked to stop, and nothing waits for their end.

A write has one deadline for queueing, sending and answering. When it passes, the caller gets `Unavailable`, and Redis
refuses the write by its own clock should it arrive later: a write that was reported as failed is not done afterwards.
There is one exception: a write that the master has and too few replicas confirmed in time. It is reported as failed, since
a failover could lose it; without a failover it stands, and its entry is in the change log.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

import trio

from minikube.errors import Unavailable, UsageError
from minikube.model import STORE_CONNECTING
from minikube.registry.redis.bridge import ThreadBridge
from minikube.registry.redis.types import (
    CommitResult,
    LeaseRenewal,
    PendingRequest,
    RevisionQuery,
    StoreListener,
    StoreState,
    Write,
)

LOGGER = logging.getLogger("minikube.registry")

WRITE_TIMEOUT_S = 2.0
"""From a write's queueing to its answer; after it the caller gets -32010."""

QUEUE_WHILE_DOWN_S = 1.0
"""How long writes are still queued after Redis was lost; later ones are refused at once."""

STOP_S = 0.2
MAX_QUEUE = 20_000


class RedisGateway:
    """The registry's access to Redis, for the trio thread."""

    def __init__(self, url: str, prefix: str, node_id: str) -> None:
        self._bridge = ThreadBridge(url, prefix, node_id)
        self._threads: list[threading.Thread] = []
        self._nonces = 0

    @property
    def state(self) -> StoreState:
        """Whether Redis can be used."""
        return self._bridge.state

    @property
    def is_connecting(self) -> bool:
        """Whether the first attempt to connect has not ended yet."""
        return not self.state.ok and self.state.detail == STORE_CONNECTING

    @property
    def shares_renewals(self) -> bool:
        """Whether lease renewals are passed on to other registries; set it while there are any."""
        return self._bridge.shares_renewals

    @shares_renewals.setter
    def shares_renewals(self, value: bool) -> None:
        self._bridge.shares_renewals = value

    def start(self, listener: StoreListener) -> None:
        """Start the threads and return at once; `listener` gets what they read. The threads import redis-py."""
        self._bridge.attach(listener)
        jobs = (("redis-writer", _write), ("redis-follower", _follow))
        self._threads = [
            threading.Thread(target=_run_thread, args=(self._bridge, job), name=name, daemon=True) for name, job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Tell both threads to end. Blocks for at most `STOP_S`, so that the writer can deregister this node."""
        with self._bridge.wake:
            self._bridge.stopping = True
            self._bridge.wake.notify_all()
        if self._threads:
            self._threads[0].join(STOP_S)

    async def commit(self, write: Write) -> CommitResult:
        """Write and return the result.

        Raises Unavailable when Redis cannot be used or does not answer in time. On cancel the write may be done or not.
        """
        return await self._request(write)

    async def share_renewal(self, id_: str) -> None:
        """Tell the other registries that a `ttl:` instance renewed its lease. Raises Unavailable as `commit`."""
        await self._request(LeaseRenewal(id_))

    async def read_revision(self) -> int:
        """Return the revision of the last write of any registry. Raises Unavailable as `commit`."""
        return (await self._request(RevisionQuery())).revision

    def mark_applied(self, revision: int) -> None:
        """Tell the follower that the catalog has all changes up to `revision`."""
        self._bridge.applied_revision = max(self._bridge.applied_revision, revision)

    def unavailable_text(self) -> str:
        """Return the error text for callers while Redis cannot be used, in one line."""
        return self._bridge.unavailable_text()

    async def _request(self, request: Write | LeaseRenewal | RevisionQuery) -> CommitResult:
        bridge = self._bridge
        # Shortly after a loss writes still wait: most losses are over with the next connection.
        is_down = not self.state.ok and not self.is_connecting
        if is_down and time.monotonic() - bridge.down_since > QUEUE_WHILE_DOWN_S:
            raise Unavailable(bridge.unavailable_text())
        if len(bridge.queue) >= MAX_QUEUE:
            raise Unavailable(f"store unavailable: {MAX_QUEUE} writes wait already; try again later")
        self._nonces += 1
        deadline, nonce = time.monotonic() + WRITE_TIMEOUT_S, f"{bridge.nonce_prefix}{self._nonces:x}"
        pending = PendingRequest(request, deadline, nonce, *bridge.listener.history())
        with bridge.wake:
            bridge.queue.append(pending)
            bridge.wake.notify_all()
        # The writer answers at the deadline; the margin is for its answer to arrive.
        with trio.move_on_after(WRITE_TIMEOUT_S + 0.1):
            await pending.done.wait()
        if pending.result is not None:
            return pending.result
        pending.deadline = 0.0  # a writer that has not sent it yet drops it
        raise Unavailable(pending.failure or f"store unavailable: Redis did not answer within {WRITE_TIMEOUT_S:g} s")


def _write(bridge: ThreadBridge) -> None:
    from minikube.registry.redis.writer import Writer  # late: redis-py takes 0.15 s to import

    Writer(bridge).run()


def _follow(bridge: ThreadBridge) -> None:
    bridge.loaded.wait()
    from minikube.registry.redis.follower import follow  # late, as above

    follow(bridge)


def _run_thread(bridge: ThreadBridge, job: Callable[[ThreadBridge], None]) -> None:
    """Run a thread's job; end the process when it fails."""
    try:
        job(bridge)
    except (trio.RunFinishedError, trio.Cancelled):
        pass
    except Exception as error:
        # While the registry stops, the interpreter may be shutting down: imports and calls into trio may fail then.
        if bridge.stopping:
            return
        if isinstance(error, UsageError):
            LOGGER.error("%s", error)
            os._exit(error.exit_code)
        LOGGER.exception("a Redis thread failed")
        # Without this thread no write would ever be done again: exit, so that the supervisor restarts the registry.
        os._exit(70)
