"""Redis from trio's side: two threads, one queue (floor 3).

The writer thread owns one connection: it connects, brings catalog and store together, sends everything that waits
in one round trip (group commit), and beats once a second. The follower thread reads the change log on another. They
hand over results with `run_sync_soon`; nothing in trio ever waits for a thread without a bound, and both are
daemons: at the end they are woken, not awaited.

A write has one deadline for queueing, sending and answering. When it passes, the caller is told "unavailable", and
Redis, should it get to see the write later, refuses it by its own clock: what was told to have failed stays undone.
One exception: a write that the master has and too few replicas confirmed in time. It is told as failed, since a
failover could lose it; if none does, it stands, and the change log tells everybody so.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import trio
from msgspec import Struct

from minikube.errors import Unavailable, UsageError
from minikube.registry.catalog.catalog import Snapshot
from minikube.registry.catalog.records import Entry, Epoch, Record
from minikube.registry.redis.types import Heartbeat, Write

LOGGER = logging.getLogger("minikube.registry")

WRITE_TIMEOUT_S = 2.0
"""From a write's queueing to its answer; after it -32010."""
ANSWER_TIMEOUT_S = 1.5
"""For one answer of Redis on the writer's connection."""
PATIENCE_S = 1.0
"""How long writes are still queued after the store was lost; later they are refused at once."""
TICK_S = 1.0
RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.4)
FAREWELL_S = 0.2
MAX_BATCH = 512
MAX_QUEUE = 20_000
CONNECTING = "connecting"
"""Why there is no store before anything was tried."""


class StoreState(Struct, frozen=True):
    """`ok` or `down`, since when (Unix seconds), and why."""

    state: str
    since: float
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.state == "ok"


class CatalogPosition(Struct, frozen=True):
    """Where the catalog stands, as the writer compares it with the store."""

    epoch: Epoch
    revision: int
    nonce: str
    registrations: int
    behind: bool


class CatalogDump(Struct, frozen=True):
    """Everything the catalog knows, for a store that lost it."""

    mark: CatalogPosition
    records: tuple[Record, ...]
    tombs: tuple[Entry, ...]
    log: tuple[Entry, ...]


class StoreListener(Protocol):
    """Whose store it is. All are called in trio's thread and must not block."""

    def mark(self) -> CatalogPosition: ...
    def memory(self) -> CatalogDump: ...
    def adopt(self, snapshot: Snapshot, lost: Sequence[Write]) -> None: ...
    def committed(self, op: Write, revision: int, incarnation: int, nonce: str) -> None: ...
    def arrived(self, entries: Sequence[Entry]) -> None: ...
    def ticked(self, tick: Heartbeat) -> Sequence[str]: ...
    def store_changed(self, state: StoreState) -> None: ...


class Pending:
    """One write on its way. `answer` is (status, numbers…) once `done` is set, or the reason why there is none."""

    __slots__ = ("answer", "attempts", "deadline", "done", "failure", "nonce", "op")

    def __init__(self, op: Write | str, deadline: float, nonce: str) -> None:
        self.op = op
        """A write; or the id of a renewal to pass on, or "" to ask for the store's revision."""
        self.deadline = deadline
        self.nonce = nonce
        self.done = trio.Event()
        self.attempts = 0
        self.answer: tuple[str, int, int] = ("", 0, 0)
        self.failure = ""


class RedisGateway:
    """The trio side: queue a write, wait for it; know whether the store is there."""

    def __init__(self, url: str, prefix: str, node: str, owner: StoreListener) -> None:
        self.url, self.prefix, self.node, self.owner = url, prefix, node, owner
        self.state = StoreState("down", time.time(), CONNECTING)
        self.queue: deque[Pending] = deque()
        self.wake = threading.Condition()
        self.stopping = False
        self.sync_wanted = False
        self.beat_wanted = False
        self.share_leases = False
        self.cursor = 0
        """The last revision the follower needs no more; only grows."""
        self.loaded = threading.Event()
        self._lost_at = time.monotonic()
        self._token: trio.lowlevel.TrioToken | None = None
        self._threads: list[threading.Thread] = []
        self._nonces = 0
        self._nonce_base = os.urandom(6).hex()

    def start(self) -> None:
        """Begin to connect; returns at once. redis-py is imported by the writer, beside everything else."""
        self._token = trio.lowlevel.current_trio_token()
        jobs = (("store-writer", _run_writer), ("store-follower", _run_follower))
        self._threads = [threading.Thread(target=job, args=(self,), name=name, daemon=True) for name, job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Tell both threads to end. Blocks for a moment, so that the other registries get to know; not longer."""
        with self.wake:
            self.stopping = True
            self.wake.notify_all()
        if self._threads:
            self._threads[0].join(FAREWELL_S)

    async def commit(self, op: Write | str) -> tuple[str, int, int]:
        """Write one. Returns (`ok`, revision, incarnation) or (`conflict`, the store's revision, 0).

        Raises Unavailable where the store is not there or does not answer in time. Cancelled: may happen or not.
        """
        known_down = not self.state.ok and self.state.detail != CONNECTING
        if known_down and time.monotonic() - self._lost_at > PATIENCE_S:
            raise Unavailable(self.unavailable())
        if len(self.queue) >= MAX_QUEUE:
            raise Unavailable(f"store unavailable: {MAX_QUEUE} writes wait already; try again later")
        self._nonces += 1
        pending = Pending(op, time.monotonic() + WRITE_TIMEOUT_S, f"{self._nonce_base}{self._nonces:x}")
        with self.wake:
            self.queue.append(pending)
            self.wake.notify_all()
        with trio.move_on_after(WRITE_TIMEOUT_S + 0.1):
            await pending.done.wait()
        if pending.answer[0]:
            return pending.answer
        pending.deadline = 0.0  # a writer that has not sent it yet drops it
        raise Unavailable(pending.failure or f"store unavailable: Redis did not answer within {WRITE_TIMEOUT_S:g} s")

    def unavailable(self) -> str:
        """One line for callers."""
        return f"store unavailable: {self.state.detail or 'Redis does not answer'}"

    # ------------------------------------------------------------ for the threads

    def soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run in trio's thread, in order, without waiting."""
        if self._token is None:
            return
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            self.stopping = True

    def ask(self, function: Callable[[], Any]) -> Any:
        """Run in trio's thread and wait for its value. Raises trio.RunFinishedError or trio.Cancelled at the end."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def say(self, state: str, detail: str = "") -> None:
        """The writer noticed how the store is."""
        if (self.state.state, self.state.detail) != (state, detail):
            self.soon(self._say, state, detail)

    def finish(self, done: Sequence[Pending]) -> None:
        """Answers are in: in trio's thread, after what was handed over before."""
        if done:
            self.soon(self._finish, tuple(done))

    def beat_soon(self) -> None:
        """The follower lost its connection: have the writer look at once, not at the next beat."""
        with self.wake:
            self.beat_wanted = True
            self.wake.notify_all()

    def _finish(self, done: Sequence[Pending]) -> None:
        """Apply what is stored before anyone is answered; a caller who went away changes nothing of it."""
        for pending in done:
            if pending.answer[0] == "ok" and isinstance(pending.op, Write):
                self.owner.committed(pending.op, *pending.answer[1:], pending.nonce)
        for pending in done:
            pending.done.set()

    def _say(self, state: str, detail: str) -> None:
        if (self.state.state, self.state.detail) == (state, detail):
            return
        was = self.state
        self.state = StoreState(state, was.since if was.state == state else time.time(), detail)
        if was.ok and not self.state.ok:
            self._lost_at = time.monotonic()
        if self.state.ok:
            LOGGER.info("store: connected")
        else:
            LOGGER.warning("store: %s; reads go on from memory, writes are refused", detail)
        self.owner.store_changed(self.state)


def _run_writer(store: RedisGateway) -> None:
    def job() -> None:
        from minikube.registry.redis.writer import Writer

        Writer(store).run()

    _until_finished(store, job)


def _run_follower(store: RedisGateway) -> None:
    def job() -> None:
        store.loaded.wait()
        from minikube.registry.redis.follower import follow

        follow(store)

    _until_finished(store, job)


def _until_finished(store: RedisGateway, job: Callable[[], None]) -> None:
    """A thread's whole life. Once the store is stopping the interpreter may be going down, and whatever fails then
    (an import, a call into trio) is nobody's concern."""
    try:
        job()
    except (trio.RunFinishedError, trio.Cancelled):
        pass
    except Exception as error:
        if store.stopping:
            return
        if isinstance(error, UsageError):
            LOGGER.error("%s", error)
            os._exit(error.exit_code)
        LOGGER.exception("a store thread failed")
        os._exit(70)  # without it nothing would ever be written again: whoever watches us starts us anew
