"""One registry node: the catalog, and the writes that change it and Redis.

Lookups read the catalog. A write is made durable in Redis first and enters the catalog as an entry of the change log, as
the writes of other nodes do. The node refuses to know RPC (`service`) and to probe (`checks`).
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

import trio
from msgspec.structs import replace

from minikube.errors import Unavailable
from minikube.jsonrpc.messages import LIMIT_EXCEEDED, RpcError
from minikube.model import ChangeKind, CheckState
from minikube.registry.catalog.catalog import ALL_NAMES, Catalog
from minikube.registry.catalog.earlier_run import EarlierRun
from minikube.registry.catalog.records import Entry, Record, StoreSnapshot, json_size
from minikube.registry.redis.gateway import RedisGateway
from minikube.registry.redis.types import (
    CatalogDump,
    CatalogPosition,
    CommitResult,
    Heartbeat,
    StoreState,
    Write,
)
from minikube.registry.sharding import LiveNodes

LOGGER = logging.getLogger("minikube.registry")

MAX_ATTEMPTS = 8
"""How often a write is tried while other nodes change the same record."""

CATCH_UP_S = 1.0
"""How long a write waits for the change log to show what another node wrote before it."""

LOAD_TIMEOUT_S = 2.0
"""How long a request that comes before Redis was read waits for that."""

RecordChange = Callable[[Record], Record | None]
"""Returns the changed record, or None to leave it as it is."""

ChangeCheck = Callable[[Record], object]
"""Called with a record that is about to be replaced or removed; raises to refuse that."""


class RegistryNode:
    """A `StoreListener` with the catalog and the writes. It belongs to the trio thread; `nursery` runs its tasks."""

    def __init__(
        self, node_id: str, store: RedisGateway, nursery: trio.Nursery, earlier_run: EarlierRun | None = None
    ) -> None:
        self.id = node_id
        self.catalog = Catalog()
        self.live_nodes = LiveNodes(node_id)
        self.store = store
        self.nursery = nursery
        self.loaded = trio.Event()
        """Set when Redis was read for the first time."""
        self.is_stale = True
        """Whether Redis is down, so that lookups are answered from memory that may be old."""
        self._renewals: dict[str, int] | None = None
        self._writers: dict[str, deque[trio.Event]] = {}
        """The writes that wait for another write of the same id, by id."""
        self._audited = 0
        self._earlier_run = earlier_run or EarlierRun()
        self._shard_callbacks: list[Callable[[], None]] = []
        self._renewal_callbacks: list[Callable[[str], None]] = []

    def on_shard_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever other instances than before may be this node's to probe."""
        self._shard_callbacks.append(callback)

    def on_renewal(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the id of each instance that renewed its lease at another node."""
        self._renewal_callbacks.append(callback)

    # ------------------------------------------------------------ StoreListener

    def position(self) -> CatalogPosition:
        """Return the catalog's position in the history of changes."""
        catalog = self.catalog
        return CatalogPosition(catalog.epoch, catalog.revision, catalog.nonce, len(catalog.records), catalog.has_gap)

    def history(self) -> tuple[str, int]:
        """Return the id of the catalog's epoch, and its revision."""
        return self.catalog.epoch.id, self.catalog.revision

    def dump(self) -> CatalogDump:
        """Return the whole content of the catalog."""
        catalog = self.catalog
        return CatalogDump(
            self.position(), tuple(catalog.records.values()), tuple(catalog.tombstones()), tuple(catalog.log)
        )

    def next_records(self, least: int, parts: int) -> tuple[CatalogPosition, Sequence[Record]]:
        """Return the next part of the records in turn, at least `least`, and where the catalog stands."""
        records = self.catalog.records
        count = max(least, -(-len(records) // parts))
        start = self._audited if self._audited < len(records) else 0
        self._audited = start + count
        return self.position(), tuple(islice(records.values(), start, start + count))

    def on_snapshot(self, snapshot: StoreSnapshot, unsaved: Sequence[Write]) -> None:
        """Load the snapshot into the catalog, then write `unsaved` again: changes that Redis lost."""
        if not self.loaded.is_set():
            records = self._earlier_run.withdraw(snapshot.records)
            withdrawn = [new for old, new in zip(snapshot.records, records, strict=True) if new is not old]
            snapshot = replace(snapshot, records=records)
            for record in withdrawn:
                self.nursery.start_soon(self._store_withdrawn, record)
        self.catalog.apply_snapshot(snapshot)
        for write in unsaved:
            self.nursery.start_soon(self._write_again, write)
        self._notify_shard_change()
        self.loaded.set()

    def on_committed(self, write: Write, result: CommitResult, nonce: str) -> None:
        """Apply a write of this node that is durable now."""
        self.catalog.apply(Entry(result.revision, write.kind, _stored_record(write, result), nonce))
        self.store.mark_applied(self.catalog.revision)

    def on_entries(self, entries: Sequence[Entry]) -> None:
        """Apply changes that other nodes wrote."""
        for entry in entries:
            self.catalog.apply(entry)
        self.store.mark_applied(self.catalog.revision)

    def on_heartbeat(self, heartbeat: Heartbeat) -> Sequence[str]:
        """Find out which nodes are alive and which leases were renewed at others; return the nodes to remove from Redis."""
        changed, to_remove = self.live_nodes.update(heartbeat.nodes)
        self.store.shares_renewals = len(self.live_nodes.alive) > 1
        # The first heartbeat with renewals only sets what later ones are compared with.
        if self._renewals is not None and heartbeat.renewals is not None:
            for id_, count in heartbeat.renewals.items():
                if self._renewals.get(id_) != count:
                    for callback in self._renewal_callbacks:
                        callback(id_)
        self._renewals = heartbeat.renewals
        if changed:
            LOGGER.info("registries alive: %s", ", ".join(self.live_nodes.alive))
            self._notify_shard_change()
        return to_remove

    def on_state(self, state: StoreState) -> None:
        """Store whether Redis can be used; replies are marked as stale while it cannot."""
        self.is_stale = not state.ok

    def _notify_shard_change(self) -> None:
        for callback in self._shard_callbacks:
            callback()

    async def _store_withdrawn(self, record: Record) -> None:
        """Store that an entry of the project's earlier run does not pass, unless it has changed since."""

        def change(known: Record) -> Record | None:
            return known if known is record else None

        # While Redis refuses writes, the entry is not discoverable here all the same.
        with suppress(Unavailable):
            await self.update(record.id, record.instance.incarnation, change)

    async def _write_again(self, write: Write) -> None:
        try:
            await self._commit(write)
        except Unavailable as error:
            LOGGER.warning("store: a change of %s could not be written again: %s", write.record.id, error)

    # ------------------------------------------------------------ writes

    async def register(
        self,
        record: Record,
        check_replace: ChangeCheck = lambda _: None,
        *,
        keeps_id: Callable[[Record], bool] = lambda _: False,
        may_use_reserve: bool = False,
    ) -> Record:
        """Store `record` in place of one with the same id, or with the same name and address; then it takes that one's id.

        `check_replace` may refuse the replacement. `keeps_id` returns whether the record keeps its own id in place of another
        one with the same name and address. `may_use_reserve`: the record is of the supervisor's project.
        Raises Unavailable, and RpcError where there are too many registrations.
        """
        for _ in range(MAX_ATTEMPTS):
            target = record
            holder = self._address_holder(record)
            if holder is not None and holder != record.id:
                replaced = self.catalog.records[holder]
                check_replace(replaced)
                known = self.catalog.records.get(record.id)
                if known is not None:
                    # The id moves to an address that another record holds: that record is replaced as well.
                    check_replace(known)
                if known is not None or keeps_id(replaced):
                    # Of this incarnation only: a later one may have another owner.
                    await self.remove(holder, replaced.instance.incarnation)
                    continue
                target = replace(record, instance=replace(record.instance, uuid=holder))
            await self._wait_write_turn(target.id)
            try:
                # Another call may have changed the holder of the address while this one waited for its turn.
                if self._address_holder(record) not in (None, target.id):
                    continue
                old = self.catalog.records.get(target.id)
                if old is not None:
                    check_replace(old)
                new = target if old is None else _merge_registration(old, target)
                with self._reserve_room(old, new, may_use_reserve):
                    if stored := await self._commit(Write(ChangeKind.PUT, new, old.revision if old else 0, old)):
                        return stored
            finally:
                self._end_write_turn(target.id)
        raise Unavailable(f"{record.instance.name}: others keep changing this entry; try again")

    def _address_holder(self, record: Record) -> str | None:
        """Return the id of the known record with the same name and address."""
        holder = self.catalog.ids_by_address.get(record.address_key)
        return holder if holder in self.catalog.records else None

    async def _wait_write_turn(self, id_: str) -> None:
        """Wait until no other write of this node changes the record of an id, in the order of the calls."""
        # Without turns, writes of one record at the same time refuse each other in Redis until their attempts are used up.
        # No `trio.Lock`: it gives up the processor also where it is free, which costs a tenth of a registration.
        waiting = self._writers.get(id_)
        if waiting is None:
            self._writers[id_] = deque()
            return
        turn = trio.Event()
        waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._end_write_turn(id_)
            else:
                waiting.remove(turn)
            raise

    def _end_write_turn(self, id_: str) -> None:
        """Let the next write of the record begin."""
        if waiting := self._writers[id_]:
            waiting.popleft().set()
        else:
            del self._writers[id_]

    @contextmanager
    def _reserve_room(self, old: Record | None, new: Record, may_use_reserve: bool) -> Iterator[None]:
        """Count a registration as under way until it is stored or has failed.

        Raises RpcError for one registration too many, or one too large for the room that is left.
        """
        entries = int(old is None or old.owner != new.owner)
        size = json_size(new) - (json_size(old) if old else 0)
        usage = self.catalog.usage
        if reason := usage.refuse_growth(new.owner, entries, size, may_use_reserve=may_use_reserve):
            raise RpcError(LIMIT_EXCEEDED, f"{new.instance.name}: {reason}")
        with usage.under_way(new.owner, entries, max(size, 0)):
            yield

    async def update(self, id_: str, incarnation: int, change: RecordChange) -> Record | None:
        """Change the record of this incarnation and return it; None if it was replaced or removed. Raises Unavailable."""
        await self._wait_write_turn(id_)
        try:
            for _ in range(MAX_ATTEMPTS):  # again after a conflict, with the record that another node wrote
                old = self.catalog.records.get(id_)
                if old is None or old.instance.incarnation != incarnation:
                    return None
                new = change(old)
                if new is None:
                    return old
                if stored := await self._commit(Write(ChangeKind.PUT, new, old.revision, old, incarnation)):
                    return stored
        finally:
            self._end_write_turn(id_)
        return None

    async def remove(
        self, id_: str, incarnation: int | None = None, check_remove: ChangeCheck = lambda _: None
    ) -> bool:
        """Remove a record; return False if there is none, or only one of another incarnation. Raises Unavailable.

        `check_remove` may refuse the removal.
        """
        await self._wait_write_turn(id_)
        try:
            for _ in range(MAX_ATTEMPTS):
                old = self.catalog.records.get(id_)
                if old is None or (incarnation and old.instance.incarnation != incarnation):
                    await trio.lowlevel.checkpoint()  # trio's rule: every path of an async function waits once
                    return False
                check_remove(old)
                if await self._commit(Write(ChangeKind.GONE, old, old.revision, old, old.instance.incarnation)):
                    return True
        finally:
            self._end_write_turn(id_)
        raise Unavailable(f"{id_}: others keep changing this entry; try again")

    async def share_renewal(self, id_: str) -> None:
        """Tell the other nodes, if there are any, that a `ttl:` instance renewed its lease. Raises Unavailable."""
        if self.store.shares_renewals:
            await self.store.share_renewal(id_)

    async def catch_up(self) -> None:
        """Wait until the catalog has everything that any node acknowledged before now. Raises Unavailable."""
        revision = await self.store.read_revision()
        if self.catalog.revision < revision:
            await self._wait_revision(revision)

    async def wait_loaded(self) -> None:
        """Wait until Redis was read for the first time. Raises Unavailable when that takes too long."""
        if self.loaded.is_set():
            return
        with trio.move_on_after(LOAD_TIMEOUT_S):
            await self.loaded.wait()
        if not self.loaded.is_set() and self.store.is_connecting:
            with trio.move_on_after(LOAD_TIMEOUT_S):  # no attempt has failed yet: this machine is merely slow
                await self.loaded.wait()
        if not self.loaded.is_set():
            raise Unavailable(self.store.unavailable_text())

    async def _commit(self, write: Write) -> Record | None:
        """Write to Redis and return the stored record; None if another node changed it first: that change is then applied."""
        result = await self.store.commit(write)
        if self.catalog.revision < result.revision:
            await self._wait_revision(result.revision)
        return _stored_record(write, result) if result.committed else None

    async def _wait_revision(self, revision: int) -> None:
        """Wait up to `CATCH_UP_S` for the change log to bring the catalog to `revision`."""
        changed = trio.Event()
        unsubscribe = self.catalog.subscribe(ALL_NAMES, lambda _: changed.set())
        try:
            with trio.move_on_after(CATCH_UP_S):
                while self.catalog.revision < revision:
                    changed = trio.Event()
                    await changed.wait()
                await trio.lowlevel.checkpoint()
        finally:
            unsubscribe()


def _stored_record(write: Write, result: CommitResult) -> Record:
    """Return the record with its revision and incarnation; for a removal, the record as it was."""
    if write.kind is ChangeKind.GONE:
        return write.record
    instance = replace(write.record.instance, revision=result.revision, incarnation=result.incarnation)
    return replace(write.record, instance=instance)


def _merge_registration(old: Record, new: Record) -> Record:
    """Return `new` with what stays when an instance registers again: maintenance, and a passing state.

    Maintenance is the operator's decision. A passing instance that registers again unchanged stays passing, so that lookups
    see no gap; it is probed at once.
    """
    was, instance = old.instance, new.instance
    is_same = (was.name, was.addr, was.health_check) == (instance.name, instance.addr, instance.health_check)
    if was.state is CheckState.MAINTENANCE:
        instance = replace(instance, state=was.state, output=was.output, since=was.since)
        after = old.state_after_maintenance if is_same else new.instance.state
        return replace(new, instance=instance, state_after_maintenance=after)
    if is_same and was.state is CheckState.PASSING:
        return replace(new, instance=replace(instance, state=was.state, since=was.since, output=was.output))
    return new
