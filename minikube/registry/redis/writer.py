"""The writer thread: connect, synchronize catalog and Redis, then send batches of writes and heartbeats. It blocks.

`_synchronize` is how the registry survives a loss of data in Redis. It compares the epoch and revision of both sides:

- Redis has a newer epoch: another registry restored it. The catalog takes it over, and writes again what only it had.
- Redis has the catalog's epoch and all its changes: the catalog takes over what is new.
- Redis has an older epoch, none, or less than the catalog: restore it from the catalog, as a new epoch.

Batches exist for speed: everything that waits goes out in one round trip (group commit), so 64 clients that register
at the same time wait about as long as one.
"""

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from functools import partial

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from minikube.registry.catalog.records import Epoch
from minikube.registry.redis import recovery
from minikube.registry.redis.bridge import RETRY_S, ThreadBridge
from minikube.registry.redis.codec import Keys
from minikube.registry.redis.commands import Command, RedisCommands
from minikube.registry.redis.connect import RedisConnector
from minikube.registry.redis.replies import one_line, read_batch, read_confirmation
from minikube.registry.redis.types import LeaseRenewal, PendingRequest, Write
from minikube.text import mask_url

LOGGER = logging.getLogger("minikube.registry")

REPLY_TIMEOUT_S = 1.5
"""The time-out for one reply of Redis."""

HEARTBEAT_S = 1.0
MAX_BATCH = 512

GATHER_FROM = 4
GATHER_S = 0.000_3
"""After a batch of so many writes the next one is gathered so long: under load fewer and larger batches cost less."""

READ_ONLY_S = 2.0
"""How long a connection to a read-only Redis is kept before the next one is tried."""

AUDIT_RECORDS = 200
AUDIT_PARTS = 4
"""Each heartbeat compares so many records with Redis, or a quarter of all: each one every 4 s at the latest."""

NO_GAP = -1

MAX_ATTEMPTS = 4
MAX_SYNCHRONIZE_ATTEMPTS = 8

WAIT_MARGIN_S = 0.3
"""WAIT replies so much before the connection's own time-out."""

CONNECTION_ERRORS = (RedisConnectionError, RedisTimeoutError, OSError)


class Writer:
    """Writes requests to Redis and sends heartbeats, in a thread of its own. No other thread uses its attributes."""

    def __init__(self, bridge: ThreadBridge) -> None:
        self._bridge = bridge
        self._keys = Keys(bridge.prefix)
        self._connector = RedisConnector(bridge.url)
        self._connection: RedisCommands | None = None
        self._attempts = 0
        self._next_heartbeat = 0.0
        self._connected_at = 0.0
        self._is_writable = False
        """Whether Redis has taken a write on this connection."""
        self._clocks = (0.0, 0.0)
        """Redis' clock and this machine's monotonic one at the same moment, the last heartbeat."""
        self._gap_revision = NO_GAP
        """The catalog's revision at the last heartbeat if it waited for the entry after it."""
        self._has_foreign_key = False
        """One of the keys holds another program's value: Redis counts as down until that key is deleted."""
        self._epoch, self._revision = "", 0
        """The catalog's epoch after the last synchronization, and the last revision that Redis gave out in it."""
        self._last_batch = 0
        self._required_replicas = 0
        """How many replicas must confirm a write before it is answered."""

    def run(self) -> None:
        """Work until the gateway stops; then remove this node from Redis."""
        bridge = self._bridge
        while not bridge.stopping:
            if self._connection is None and not self._connect():
                self._wait(RETRY_S[min(self._attempts, len(RETRY_S) - 1)])
                self._attempts += 1
                self._fail_expired()
                continue
            if not self._has_work():
                self._wait(self._next_heartbeat - time.monotonic())
            self._work()
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                self._connection.remove_nodes([bridge.node_id])
            self._connection.close()

    def _has_work(self) -> bool:
        bridge = self._bridge
        return bool(bridge.queue) or bridge.resync_requested or bridge.heartbeat_requested

    def _wait(self, seconds: float) -> None:
        """Wait `seconds`, or with a connection only until a request is queued."""
        with self._bridge.wake:
            if not self._bridge.stopping and (self._connection is None or not self._has_work()):
                self._bridge.wake.wait(max(0.001, seconds))

    def _work(self) -> None:
        """Synchronize, write the queued requests and send the heartbeat, as far as each is due. Handle all errors of Redis."""
        bridge = self._bridge
        if self._last_batch >= GATHER_FROM:
            time.sleep(GATHER_S)
        batch = [bridge.queue.popleft() for _ in range(min(len(bridge.queue), MAX_BATCH))]
        self._last_batch = len(batch)
        try:
            if bridge.resync_requested:
                bridge.resync_requested = False
                self._synchronize()
            if bridge.heartbeat_requested or time.monotonic() >= self._next_heartbeat:
                bridge.heartbeat_requested = False
                self._send_heartbeat()
            if batch:
                self._send_batch(batch)
        except CONNECTION_ERRORS as error:
            self._on_connection_lost(error)
        except RedisError as error:
            # Redis is there and refuses: no disk, no memory, read-only, no permission. The heartbeat is a write too, so
            # it finds out when that is over.
            bridge.report_state("down", self._explain(error))
            bridge.resync_requested |= "stream top item" in str(error)  # the change log has an entry of another program
            now = time.monotonic()
            self._next_heartbeat = now + RETRY_S[-1]
            # A master became a replica: ask the sentinels, or DNS, again. Where it is a replica from the start, do so less
            # often: each new connection reads everything.
            if isinstance(error, ReadOnlyError) and (self._is_writable or now > self._connected_at + READ_ONLY_S):
                self._disconnect()
        finally:
            self._finish_batch(batch)

    def _finish_batch(self, batch: Sequence[PendingRequest]) -> None:
        """Answer the requests of a batch, or queue them again while they have time."""
        now = time.monotonic()
        # From last to first: they go back to the front of the queue in their order.
        for pending in reversed([pending for pending in batch if not pending.is_answered]):
            pending.attempts += 1
            if pending.deadline > now and pending.attempts < MAX_ATTEMPTS:
                self._bridge.queue.appendleft(pending)
            else:
                pending.failure = self._bridge.unavailable_text()
        self._bridge.finish([pending for pending in batch if pending.is_answered])

    def _fail_expired(self) -> None:
        """Answer the queued requests that are past their deadline; there is no connection."""
        now = time.monotonic()
        expired: list[PendingRequest] = []
        waiting: list[PendingRequest] = []
        while self._bridge.queue:
            pending = self._bridge.queue.popleft()
            (expired if pending.deadline <= now else waiting).append(pending)
        self._bridge.queue.extendleft(reversed(waiting))
        for pending in expired:
            pending.failure = self._bridge.unavailable_text()
        self._bridge.finish(expired)

    # ------------------------------------------------------------ connecting

    def _connect(self) -> bool:
        """Connect and synchronize; return whether that succeeded. The first heartbeat follows, and is not a part of it."""
        try:
            connection = RedisCommands(self._connector.open(REPLY_TIMEOUT_S), self._keys)
            self._connection = connection
            connection.load_scripts()
            self._required_replicas = connection.required_replicas()
            self._synchronize()
        except CONNECTION_ERRORS as error:
            self._on_connection_lost(error)
            return False
        except RedisError as error:
            self._bridge.report_state("down", self._explain(error))
            self._disconnect()
            return False
        self._attempts = 0
        self._connected_at, self._is_writable = time.monotonic(), False
        self._bridge.heartbeat_requested = True
        return True

    def _explain(self, error: RedisError) -> str:
        """Return why Redis refuses, in one line; where a key holds another program's value, name the key."""
        foreign = ""
        if isinstance(error, ResponseError) and self._connection is not None:
            with contextlib.suppress(*CONNECTION_ERRORS, RedisError):
                foreign = self._connection.find_foreign_key()
        self._has_foreign_key = bool(foreign)
        return foreign or one_line(error)

    def _on_connection_lost(self, error: Exception) -> None:
        detail = one_line(error)
        if isinstance(error, RedisTimeoutError | TimeoutError):
            detail = f"Redis did not answer within {REPLY_TIMEOUT_S:g} s"
        self._bridge.report_state("down", f"{detail} ({mask_url(self._bridge.url)})")
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------ synchronizing

    def _synchronize(self) -> None:
        """Bring catalog and Redis to the same history, by the rules in the module's docstring."""
        connection, bridge = self._connection, self._bridge
        assert connection is not None
        for _ in range(MAX_SYNCHRONIZE_ATTEMPTS):
            # Before Redis is read: changes of other registries that come meanwhile would look lost in the snapshot.
            dump = bridge.call(bridge.listener.dump)
            snapshot, unreadable = connection.read_snapshot()
            for line in unreadable:
                LOGGER.warning("store: unreadable and left out: %s", line)
            if recovery.should_take_over(snapshot, dump):
                unsaved = recovery.unsaved_writes(snapshot, dump)
                bridge.call(partial(bridge.listener.on_snapshot, snapshot, unsaved))
                bridge.applied_revision = max(bridge.applied_revision, snapshot.revision)
                bridge.loaded.set()
                self._epoch, self._revision = snapshot.epoch.id, snapshot.revision
                self._gap_revision = NO_GAP
                return
            dump = bridge.call(bridge.listener.dump)
            known = dump.position
            new = Epoch(max(snapshot.epoch.number, known.epoch.number) + 1, os.urandom(8).hex(), known.revision)
            # Whether this registry or another one restores it, the next turn reads the result.
            if connection.restore(snapshot.epoch, new, dump.records, dump.tombstones) and known.epoch:
                LOGGER.warning("store: Redis had lost its data; %d registrations are put back", len(dump.records))
        raise RedisConnectionError("several registries restore the store at once")

    # ------------------------------------------------------------ heartbeat

    def _send_heartbeat(self) -> None:
        """Show the other registries that this one is alive, and find out whether Redis still has the same history."""
        connection, bridge = self._connection, self._bridge
        assert connection is not None
        self._next_heartbeat = time.monotonic() + HEARTBEAT_S
        # The heartbeat script may work although another key is foreign: it must not report `ok` then.
        if self._has_foreign_key and connection.find_foreign_key():
            return
        self._has_foreign_key = False
        if self._connector.has_master_changed():
            raise RedisConnectionError("the sentinels name another master")
        self._repair_lost()
        position = bridge.call(bridge.listener.position)
        before = time.monotonic()
        heartbeat = connection.heartbeat(bridge.node_id, position.revision, with_renewals=bridge.shares_renewals)
        self._is_writable = True
        # Redis read its clock somewhere between sending and receiving: take the middle.
        self._clocks = (heartbeat.clock, (before + time.monotonic()) / 2)
        # The same gap at two heartbeats in a row: the missing entry is lost, not late.
        is_lost = position.has_gap and position.revision == self._gap_revision
        self._gap_revision = position.revision if position.has_gap else NO_GAP
        if is_lost or recovery.has_diverged(heartbeat, position):
            self._synchronize()
        bridge.report_state("ok")
        to_remove = bridge.call(partial(bridge.listener.on_heartbeat, heartbeat))
        if to_remove:
            connection.remove_nodes(to_remove)

    def _repair_lost(self) -> None:
        """Write again each hash, registration and address that was deleted, evicted or overwritten in Redis."""
        # What is lost altogether (`FLUSHALL`) has lost its epoch, too: `_synchronize` restores that.
        connection, bridge = self._connection, self._bridge
        assert connection is not None
        position, records = bridge.call(partial(bridge.listener.next_records, AUDIT_RECORDS, AUDIT_PARTS))
        epoch = position.epoch.id
        if not records:
            return
        lost = connection.audit(epoch, records)
        written = [record for record in lost if connection.repair(epoch, position.revision, record)]
        if written:
            names = ", ".join(f"{record.instance.name} {record.id}" for record in written[:5])
            more = f" and {len(written) - 5} more" if len(written) > 5 else ""
            LOGGER.warning("store: Redis had lost what it had of %s%s; it is written again", names, more)

    # ------------------------------------------------------------ writing

    def _send_batch(self, batch: Sequence[PendingRequest]) -> None:
        """Send the requests in one round trip and fill in their results; raise Redis' refusal."""
        connection, bridge = self._connection, self._bridge
        assert connection is not None
        now = time.monotonic()
        for pending in batch:
            if pending.deadline <= now:
                pending.failure = bridge.unavailable_text()
        live = [pending for pending in batch if not pending.failure]
        if any(pending.epoch != self._epoch or pending.attempts for pending in live):
            # Queued before the last synchronization. Always asking would cost each batch a change of threads.
            self._epoch, known = bridge.call(bridge.listener.history)
            for pending in live:
                pending.epoch, pending.known = self._epoch, known
        commands = [self._command(connection, pending) for pending in live]
        result = None
        if live and self._required_replicas:
            *replies, confirmed = connection.pipeline([*commands, self._wait_command(live)])
            result = read_confirmation(len(live), confirmed, self._required_replicas)
        else:
            replies = connection.pipeline(commands)
        result = result or read_batch(replies)
        for pending, outcome in zip(live, result.outcomes, strict=True):
            pending.result, pending.failure = outcome.result, outcome.failure
            if outcome.result is not None:
                self._revision = max(self._revision, outcome.result.revision)
        if result.scripts_missing:
            connection.load_scripts()
        if result.error is not None:
            raise result.error
        if result.diverged:
            self._synchronize()
        elif result.late:
            self._send_heartbeat()

    def _command(self, connection: RedisCommands, pending: PendingRequest) -> Command:
        match pending.request:
            case Write() as write:
                redis_clock, own_clock = self._clocks
                deadline = redis_clock + (pending.deadline - own_clock)
                # The revision of this writer's last result: the catalog may have had less when the write was queued.
                known = max(pending.known, self._revision)
                return connection.commit_command(write, pending.epoch, known, deadline, pending.nonce)
            case LeaseRenewal(id=id_):
                return connection.renewal_command(id_)
        return connection.revision_command()

    def _wait_command(self, live: Sequence[PendingRequest]) -> Command:
        """Return the WAIT that ends before the batch's last deadline, and before the connection's time-out."""
        latest = max(pending.deadline for pending in live)
        seconds = min(latest - time.monotonic(), REPLY_TIMEOUT_S - WAIT_MARGIN_S)
        return ("WAIT", self._required_replicas, max(1, int(seconds * 1000)))
