"""Who watches what (floor 3): `Discovery.Watch`, from the snapshot to the last change. Belongs to the trio thread.

It refuses to wait: a peer that does not keep up is the connection's matter, and is ended there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import trio

from minikube.jsonrpc.messages import COMPACTED, Request, RpcError
from minikube.model import Change
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.catalog.catalog import Catalog, Compacted
from minikube.registry.validation import arguments, as_name, as_type, wrong

MAX_WATCHES = 64
"""Of one connection."""

MAX_SAME = 4
"""Of one connection and one name: each change is told once for every watch."""

Notify = Callable[[str, Any], None]
_encode = msgspec.json.Encoder().encode


class Watch(NamedTuple):
    """One watch of one connection."""

    name: str
    end: Callable[[], None]


class Watches:
    """All watches of all connections; each ends with its connection."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._watches: WeakKeyDictionary[RpcConnection, dict[int, Watch]] = WeakKeyDictionary()
        self._next = 0
        self._told: tuple[Change | None, bytes] = (None, b"")

    def begin(self, request: Request, peer: RpcConnection) -> dict[str, Any]:
        """Watch from now on. Returns what to answer; changes follow it, since the peer puts the answer first."""
        return self._begin(request, peer, peer.notify)

    def begin_late(self, request: Request, peer: RpcConnection) -> dict[str, Any]:
        """The same for a call that had to wait: the caller must have the answer queued before it waits again."""
        late = _Late(peer)
        result = self._begin(request, peer, late.notify)
        peer.start_soon(late.begin)
        return result

    def end(self, peer: RpcConnection, number: int) -> bool:
        """End one of the peer's watches. False where it has none of that number."""
        watch = self._watches.get(peer, {}).pop(number, None)
        if watch is not None:
            watch.end()
        return watch is not None

    def _begin(self, request: Request, peer: RpcConnection, notify: Notify) -> dict[str, Any]:
        if request.dialect == 1:
            raise wrong('Discovery.Watch needs "jsonrpc": "2.0", for its notifications; Discovery.Wait works in both')
        asked, since = arguments(request.params, "Name", "Since", least=1)
        name = as_name(asked, every=True)
        watches = self._watches.setdefault(peer, {})
        if len(watches) >= MAX_WATCHES:
            raise wrong(f"{MAX_WATCHES} watches on one connection are the most; Discovery.Unwatch ends one")
        if sum(watch.name == name for watch in watches.values()) >= MAX_SAME:
            raise wrong(f"{MAX_SAME} watches of {name} on one connection are the most; Discovery.Unwatch ends one")
        catalog = self._catalog
        missed: list[Change] = []
        instances = None
        if since is None:
            instances = msgspec.Raw(catalog.instances_json(name))
        else:
            missed = self._missed(name, as_type(since, int, "Since"))
        number = self._next = self._next + 1

        def tell(change: Change) -> None:
            notify("Discovery.Changed", msgspec.Raw(b'{"Watch":%d,%b' % (number, self._tail(change))))

        if not watches:
            peer.start_soon(self._end_all, peer)
        watches[number] = Watch(name, catalog.subscribe(name, tell))
        for change in missed:
            tell(change)
        return {"Watch": number, "Revision": catalog.revision, "Instances": instances}

    def _missed(self, name: str, since: int) -> list[Change]:
        try:
            return self._catalog.since(name, since)
        except Compacted:
            raise RpcError(
                COMPACTED,
                f"compacted: changes since revision {since} are not known any more (those after {self._catalog.floor} are)"
                " — watch without Since",
            ) from None

    def _tail(self, change: Change) -> bytes:
        """What all watchers of a change get alike, encoded once."""
        if self._told[0] is not change:
            values = {"Revision": change.revision, "Kind": change.kind.value, "Instance": change.instance}
            self._told = (change, _encode(values)[1:])
        return self._told[1]

    async def _end_all(self, peer: RpcConnection) -> None:
        try:
            await peer.closed.wait()
        finally:
            for watch in self._watches.pop(peer, {}).values():
                watch.end()


class _Late:
    """Holds back a watch's notices until its answer is queued."""

    def __init__(self, peer: RpcConnection) -> None:
        self._peer = peer
        self._held: list[tuple[str, Any]] | None = []

    def notify(self, method: str, params: Any) -> None:
        if self._held is None:
            self._peer.notify(method, params)
        else:
            self._held.append((method, params))

    async def begin(self) -> None:
        await trio.lowlevel.checkpoint()
        held, self._held = self._held or [], None
        for method, params in held:
            self._peer.notify(method, params)
