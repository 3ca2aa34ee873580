"""`Discovery.Watch`: the watches of each connection, from the snapshot to the last change. For the trio thread.

It never waits: a client that does not keep up is ended by its connection, which bounds what is queued.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import trio

from minikube.jsonrpc.messages import COMPACTED, Request, RpcError
from minikube.model import Change
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.catalog.catalog import Catalog, Compacted, without_output
from minikube.registry.loopback import with_loopback_host
from minikube.registry.validation import arguments, as_name, as_type, invalid

MAX_WATCHES = 64
"""The most watches of one connection."""

MAX_WATCHES_OF_NAME = 4
"""The most watches of one connection and one name: each change is sent once for every watch."""

Notify = Callable[[str, Any], None]
_encode = msgspec.json.Encoder().encode


class Watch(NamedTuple):
    """One watch of one connection."""

    name: str
    unsubscribe: Callable[[], None]


class Subscriptions:
    """All watches of all connections; each ends with its connection."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._watches: WeakKeyDictionary[RpcConnection, dict[int, Watch]] = WeakKeyDictionary()
        self._last_number = 0
        self._encoded: dict[bool, tuple[Change | None, bytes]] = {False: (None, b""), True: (None, b"")}

    def start(self, request: Request, connection: RpcConnection, *, with_output: bool) -> dict[str, Any]:
        """Start a watch and return the result of the call, for the fast path: the connection sends it before any change."""
        return self._start(request, connection, connection.notify, with_output)

    def start_waited(self, request: Request, connection: RpcConnection, *, with_output: bool) -> dict[str, Any]:
        """Start a watch for a call that had to wait. The caller must queue the result before it waits again."""
        queue = _HeldNotifications(connection)
        result = self._start(request, connection, queue.notify, with_output)
        connection.start_soon(queue.release)
        return result

    def stop(self, connection: RpcConnection, number: int) -> bool:
        """End one of the connection's watches; return False if it has none of that number."""
        watch = self._watches.get(connection, {}).pop(number, None)
        if watch is not None:
            watch.unsubscribe()
        return watch is not None

    def _start(self, request: Request, connection: RpcConnection, notify: Notify, with_output: bool) -> dict[str, Any]:
        if request.dialect == 1:
            raise invalid('Discovery.Watch needs "jsonrpc": "2.0", for its notifications; Discovery.Wait works in both')
        name_argument, since = arguments(request.params, "Name", "Since", required=1)
        name = as_name(name_argument, allow_all=True)
        watches = self._watches.get(connection, {})
        if len(watches) >= MAX_WATCHES:
            raise invalid(f"{MAX_WATCHES} watches on one connection are the most; Discovery.Unwatch ends one")
        if sum(watch.name == name for watch in watches.values()) >= MAX_WATCHES_OF_NAME:
            raise invalid(
                f"{MAX_WATCHES_OF_NAME} watches of {name} on one connection are the most; Discovery.Unwatch ends one"
            )
        catalog = self._catalog
        missed: list[Change] = []
        instances = None
        if since is None:
            instances = msgspec.Raw(
                with_loopback_host(catalog.instances_json(name, with_output=with_output), connection)
            )
        else:
            missed = self._missed_changes(name, as_type(since, int, "Since"))
        number = self._last_number = self._last_number + 1

        def send(change: Change) -> None:
            params = b'{"Watch":%d,%b' % (number, self._encode_change(change, with_output))
            notify("Discovery.Changed", msgspec.Raw(with_loopback_host(params, connection)))

        if connection not in self._watches:  # the first watch, also of those that have ended: one task ends them all
            self._watches[connection] = watches
            connection.start_soon(self._stop_all_when_closed, connection)
        watches[number] = Watch(name, catalog.subscribe(name, send))
        for change in missed:
            send(change)
        return {"Watch": number, "Revision": catalog.revision, "Instances": instances}

    def _missed_changes(self, name: str, since: int) -> list[Change]:
        try:
            return self._catalog.changes_since(name, since)
        except Compacted:
            raise RpcError(
                COMPACTED,
                f"compacted: changes since revision {since} are not known any more (those after "
                f"{self._catalog.compacted} are) — watch without Since",
            ) from None

    def _encode_change(self, change: Change, with_output: bool) -> bytes:
        """Return a change as JSON without its opening brace. All watches of a change get the same bytes: encode them once."""
        if self._encoded[with_output][0] is not change:
            instance = change.instance if with_output else without_output(change.instance)
            values = {"Revision": change.revision, "Kind": change.kind.value, "Instance": instance}
            self._encoded[with_output] = (change, _encode(values)[1:])
        return self._encoded[with_output][1]

    async def _stop_all_when_closed(self, connection: RpcConnection) -> None:
        try:
            await connection.closed.wait()
        finally:
            for watch in self._watches.pop(connection, {}).values():
                watch.unsubscribe()


class _HeldNotifications:
    """Holds back a watch's notifications until the result of its call is queued: a client needs the watch's number first."""

    def __init__(self, connection: RpcConnection) -> None:
        self._connection = connection
        self._held: list[tuple[str, Any]] | None = []

    def notify(self, method: str, params: Any) -> None:
        """Send a notification, now or at `release`."""
        if self._held is None:
            self._connection.notify(method, params)
        else:
            self._held.append((method, params))

    async def release(self) -> None:
        """Send what was held back, and everything later at once."""
        # One turn of the loop: the task that answers the call has queued the result by then.
        await trio.lowlevel.checkpoint()
        held, self._held = self._held or [], None
        for method, params in held:
            self._connection.notify(method, params)
