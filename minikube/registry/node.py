"""One registry node (floor 3): the catalog, its store, and the writes that change both.

Reads come from the catalog. A write is made durable first and enters the catalog as an entry of the log, like those of other
nodes. It refuses to know RPC (`server`) and to probe (`judge`).
"""

import logging
import os
import time
from collections.abc import Callable, Sequence

import trio
from msgspec.structs import replace

from minikube.errors import MinikubeError, Unavailable
from minikube.model import ChangeKind, CheckState
from minikube.registry.catalog.catalog import Catalog, Snapshot
from minikube.registry.catalog.records import Entry, Record, address_field, size_of
from minikube.registry.checks.sharding import Nodes
from minikube.registry.config import RegistryConfig
from minikube.registry.redis.gateway import CONNECTING, CatalogDump, CatalogPosition, RedisGateway, StoreState
from minikube.registry.redis.types import Heartbeat, Write

LOGGER = logging.getLogger("minikube.registry")

MAX_TRIES = 8
CATCH_UP_S = 1.0
LOAD_S = 2.0
"""How long a request that comes before the first load waits for it."""

OUTPUT_LIMIT = 4096

MAX_REGISTRATIONS = 20_000
MAX_BYTES = 33_554_432
"""Of all registrations as JSON. Strangers can register what they like: past either, a new one is refused."""

Updated = Callable[[Record], Record | None]
"""From the record as it stands to the one that is to be; None: leave it."""


class Node:
    """Implements `store.Owner`. Belongs to the trio thread."""

    def __init__(self, config: RegistryConfig, nursery: trio.Nursery) -> None:
        self.id = config.node or os.urandom(4).hex()
        self.catalog = Catalog()
        self.nodes = Nodes(self.id)
        self.store = RedisGateway(config.redis_url, config.prefix, self.id, self)
        self.nursery = nursery
        self.reshared: Callable[[], None] = lambda: None
        self.leased: Callable[[str], None] = lambda _: None
        self.loaded = trio.Event()
        self.stale = True
        """While the store is away: what is read is memory."""
        self._leases: dict[str, int] | None = None

    # ------------------------------------------------------------ store.Owner

    def mark(self) -> CatalogPosition:
        known = self.catalog
        return CatalogPosition(known.epoch, known.revision, known.nonce, len(known.records), known.behind)

    def memory(self) -> CatalogDump:
        known = self.catalog
        return CatalogDump(self.mark(), tuple(known.records.values()), tuple(known.tombs()), tuple(known.log))

    def adopt(self, snapshot: Snapshot, lost: Sequence[Write]) -> None:
        self.catalog.adopt(snapshot)
        for op in lost:
            self.nursery.start_soon(self._again, op)
        self.reshared()
        self.loaded.set()

    def committed(self, op: Write, revision: int, incarnation: int, nonce: str) -> None:
        self.catalog.offer(Entry(revision, op.kind, _stamped(op, revision, incarnation), nonce))
        self.store.cursor = max(self.store.cursor, self.catalog.revision)

    def arrived(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.catalog.offer(entry)
        self.store.cursor = max(self.store.cursor, self.catalog.revision)

    def ticked(self, tick: Heartbeat) -> Sequence[str]:
        changed, lost = self.nodes.beat(tick.nodes)
        self.store.share_leases = len(self.nodes.living) > 1
        if self._leases is not None and tick.leases is not None:
            for id_, count in tick.leases.items():
                if self._leases.get(id_) != count:
                    self.leased(id_)
        self._leases = tick.leases
        if changed:
            LOGGER.info("registries alive: %s", ", ".join(self.nodes.living))
            self.reshared()
        return lost

    def store_changed(self, state: StoreState) -> None:
        self.stale = not state.ok

    async def _again(self, op: Write) -> None:
        try:
            await self._commit(op)
        except Unavailable as error:
            LOGGER.warning("store: a change of %s could not be written again: %s", op.record.id, error)

    # ------------------------------------------------------------ writes

    async def register(self, record: Record) -> Record:
        """Puts an entry in place of the one with the same id or the same name and address.

        The id of an entry at the same name and address is kept. Raises `Unavailable`, and `MinikubeError` where there
        are too many; those under way at the same time may pass the bound by a few.
        """
        for _ in range(MAX_TRIES):
            instance = record.instance
            holder = self.catalog.addresses.get(address_field(record))
            if holder is not None and holder in self.catalog.records and holder != record.id:
                if record.id in self.catalog.records:
                    # The id moved to an address that an entry of its own holds: that one is replaced as well.
                    await self.remove(holder)
                    continue
                record = replace(record, instance=replace(instance, uuid=holder))
            old = self.catalog.records.get(record.id)
            wanted = record if old is None else _kept(old, record)
            self._check_room(old, wanted)
            if done := await self._commit(Write(ChangeKind.PUT, wanted, old.revision if old else 0, old)):
                return done
        raise Unavailable(f"{record.instance.name}: others keep changing this entry; try again")

    def _check_room(self, old: Record | None, new: Record) -> None:
        """Raises `MinikubeError` where a registration is one too many, or too large for the room that is left."""
        catalog, name = self.catalog, new.instance.name
        if old is None and len(catalog.records) >= MAX_REGISTRATIONS:
            raise MinikubeError(
                f"{name}: {len(catalog.records)} instances are registered, {MAX_REGISTRATIONS} are the most — "
                "deregister some, or let those that are gone be forgotten sooner (ForgetAfter)"
            )
        more = size_of(new) - (size_of(old) if old else 0)
        if more > 0 and catalog.size + more > MAX_BYTES:
            raise MinikubeError(
                f"{name}: all registrations together would have over {MAX_BYTES} bytes — "
                "deregister some, or give them less Meta and fewer Tags"
            )

    async def update(self, id_: str, incarnation: int, change: Updated) -> Record | None:
        """Changes an entry of this incarnation; None when it is another by now, or gone. Raises `Unavailable`."""
        for _ in range(MAX_TRIES):
            old = self.catalog.records.get(id_)
            if old is None or old.instance.incarnation != incarnation:
                return None
            new = change(old)
            if new is None:
                return old
            if done := await self._commit(Write(ChangeKind.PUT, new, old.revision, old, incarnation)):
                return done
        return None

    async def remove(self, id_: str, incarnation: int | None = None) -> bool:
        """False when it is not there, or is another incarnation. Raises `Unavailable`."""
        for _ in range(MAX_TRIES):
            old = self.catalog.records.get(id_)
            if old is None or (incarnation and old.instance.incarnation != incarnation):
                await trio.lowlevel.checkpoint()
                return False
            if await self._commit(Write(ChangeKind.GONE, old, old.revision, old, old.instance.incarnation)):
                return True
        raise Unavailable(f"{id_}: others keep changing this entry; try again")

    async def _commit(self, op: Write) -> Record | None:
        """The record as stored; None when someone else was first, and the catalog has caught up since."""
        status, revision, incarnation = await self.store.commit(op)
        if self.catalog.revision < revision:
            await self._catch_up(revision)
        return _stamped(op, revision, incarnation) if status == "ok" else None

    async def catch_up(self) -> None:
        """Waits until everything that any registry acknowledged before now is known here. Raises `Unavailable`."""
        _, revision, _ = await self.store.commit("")
        if self.catalog.revision < revision:
            await self._catch_up(revision)

    async def wait_loaded(self) -> None:
        """Until the store was read for the first time. Raises `Unavailable` where that takes too long."""
        if self.loaded.is_set():
            return
        with trio.move_on_after(LOAD_S):
            await self.loaded.wait()
        if not self.loaded.is_set() and self.store.state.detail == CONNECTING:
            with trio.move_on_after(LOAD_S):  # nothing has failed yet, this machine is merely slow
                await self.loaded.wait()
        if not self.loaded.is_set():
            raise Unavailable(self.store.unavailable())

    async def _catch_up(self, revision: int) -> None:
        """Waits a moment for the log to bring what we have not seen."""
        moved = trio.Event()
        unsubscribe = self.catalog.subscribe("*", lambda _: moved.set())
        try:
            with trio.move_on_after(CATCH_UP_S):
                while self.catalog.revision < revision:
                    moved = trio.Event()
                    await moved.wait()
                await trio.lowlevel.checkpoint()
        finally:
            unsubscribe()


def entered(record: Record, state: CheckState, output: str, checked: float) -> Record:
    """The record in another state, since now."""
    instance = replace(record.instance, state=state, output=output[:OUTPUT_LIMIT], checked=checked, since=time.time())
    return replace(record, instance=instance)


def _stamped(op: Write, revision: int, incarnation: int) -> Record:
    """The record as stored; as it stood, for a removal."""
    if op.kind is ChangeKind.GONE:
        return op.record
    return replace(op.record, instance=replace(op.record.instance, revision=revision, incarnation=incarnation))


def _kept(old: Record, new: Record) -> Record:
    """What a new registration takes over: maintenance, which is the operator's; and that it passes, where it is the
    same instance with the same check, so that registering again makes no gap (its probe comes at once)."""
    was, instance = old.instance, new.instance
    same = (was.name, was.addr, was.health_check) == (instance.name, instance.addr, instance.health_check)
    if was.state is CheckState.MAINTENANCE:
        kept = replace(instance, state=was.state, output=was.output, since=was.since)
        return replace(new, instance=kept, resumed=old.resumed if same else CheckState.STARTING)
    if same and was.state is CheckState.PASSING:
        return replace(new, instance=replace(instance, state=was.state, since=was.since, output=was.output))
    return new
