"""The order of the calls that change instances: those of one connection that concern the same instance, one after the other.

Each such call runs in a task of its own, and trio starts tasks in any order. So a call takes its place while its line is
read, and its task waits for the earlier calls with the same id, or the same name and address. Lookups take no place, and
calls about different instances do not wait for each other: their writes share round trips to Redis.
"""

from typing import Any

import trio

from minikube.jsonrpc.messages import Request, RpcError
from minikube.model import Address
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.validation import as_address, named_params

ORDERED_METHODS = frozenset(
    ("Discovery.Register", "Discovery.Deregister", "Discovery.Renew", "Discovery.Maintenance"),
)

UNSTARTED_S = 15.0
"""How long a call waits for an earlier one that has not started: the server drops the calls of a batch that it refuses.
Longer than `RpcLimits.stall_s`, within which a call that cannot start for a client that does not read ends."""

PURGE_EVERY = 1_024
"""After so many connections with calls, what closed ones have left is dropped."""

_ADDRESS_NAMES = {"ip": "IP", "port": "Port", "zone": "Zone"}


class _Place:
    """The place of one call among those of its connection."""

    __slots__ = ("earlier", "ended", "has_ended", "keys", "started")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.earlier: tuple[_Place, ...] = ()
        self.started = self.has_ended = False
        self.ended: trio.Event | None = None
        """Made for the first call that waits: most calls have none behind them."""

    async def wait_ended(self) -> None:
        """Wait until the call has ended; a call that has not started is waited for `UNSTARTED_S` long."""
        if self.has_ended:
            return
        if self.ended is None:
            self.ended = trio.Event()
        with trio.move_on_after(UNSTARTED_S):
            await self.ended.wait()
        if self.started:
            await self.ended.wait()


class _Places:
    """The places of one connection: by request, and the last one of each key."""

    __slots__ = ("by_request", "last")

    def __init__(self) -> None:
        self.by_request: dict[int, _Place] = {}
        self.last: dict[str, _Place] = {}


class CallOrder:
    """The calls under way of all connections. For the trio thread."""

    def __init__(self) -> None:
        self._connections: dict[RpcConnection, _Places] = {}
        """Those with calls under way. Not a `WeakKeyDictionary`, whose look-ups take a microsecond each."""
        self._added = 0

    def add(self, request: Request, connection: RpcConnection) -> None:
        """Give a call its place after the earlier ones. Call it in the order in which the lines came."""
        if not (keys := instance_keys(request)):
            return
        places = self._connections.get(connection)
        if places is None:
            places = self._connections[connection] = _Places()
            self._added += 1
            if self._added % PURGE_EVERY == 0:
                self._drop_closed()
        last = places.last
        place = places.by_request[id(request)] = _Place(keys)
        for key in keys:
            earlier = last.get(key)
            if earlier is not None and earlier not in place.earlier:
                place.earlier += (earlier,)
                # A registration without an id replaces the one at its address and takes its id: calls about that id
                # come after both.
                if earlier.keys != place.keys:
                    place.keys = tuple({*place.keys, *earlier.keys})
        for key in place.keys:
            last[key] = place

    def has_calls(self, id_: str, connection: RpcConnection) -> bool:
        """Return whether calls of the connection about this instance are under way."""
        places = self._connections.get(connection)
        return places is not None and id_ in places.last

    def start(self, request: Request, connection: RpcConnection) -> bool:
        """Note that the call's task has started; return whether it must call `wait_turn`."""
        place = self._place(request, connection)
        if place is None:
            return False
        place.started = True
        return bool(place.earlier)

    async def wait_turn(self, request: Request, connection: RpcConnection) -> None:
        """Wait until the earlier calls about the same instance have taken effect."""
        place = self._place(request, connection)
        for earlier in place.earlier if place else ():
            await earlier.wait_ended()
        if place:
            place.earlier = ()

    def end(self, request: Request, connection: RpcConnection) -> None:
        """Let the next call about the same instance take effect; a second call of this does nothing."""
        places = self._connections.get(connection)
        place = places.by_request.pop(id(request), None) if places else None
        if places is None or place is None:
            return
        place.has_ended = True
        if place.ended is not None:
            place.ended.set()
        place.earlier = ()
        if not places.by_request:
            del self._connections[connection]
            return
        for key in place.keys:
            if places.last.get(key) is place:
                del places.last[key]

    def _place(self, request: Request, connection: RpcConnection) -> _Place | None:
        places = self._connections.get(connection)
        return places.by_request.get(id(request)) if places else None

    def _drop_closed(self) -> None:
        """Drop what closed connections have left: calls that the server dropped with a refused batch."""
        for connection in [connection for connection in self._connections if connection.closed.is_set()]:
            del self._connections[connection]


def instance_keys(request: Request) -> tuple[str, ...]:
    """Return what the call says of the instance that it changes: its id, its `NAME ADDR`, or both; none if it is wrong."""
    if request.method not in ORDERED_METHODS:
        return ()
    params = request.params
    if type(params) is list and params and type(params[0]) is str:
        return (params[0],)
    by_name = named_params(params)
    if by_name is None:
        return ()
    given = {str(key).lower(): value for key, value in by_name.items()}
    keys = [value for name in ("id", "uuid") if isinstance(value := given.get(name), str) and value]
    if request.method == "Discovery.Register" and (address := _address(given.get("addr"))) is not None:
        keys.append(f"{given.get('name')} {address}")
    return tuple(keys)


def _address(value: Any) -> Address | None:
    """Return the address of a registration; None for a wrong one, which the call itself refuses."""
    if isinstance(value, dict):
        fields = {_ADDRESS_NAMES.get(str(key).lower(), ""): part for key, part in value.items()}
        host, port, zone = fields.get("IP"), fields.get("Port"), fields.get("Zone") or ""
        if not (isinstance(host, str) and isinstance(port, int) and isinstance(zone, str)):
            return None
        value = Address(host, port, zone)
    if not isinstance(value, str | Address):
        return None
    try:
        return as_address(value)
    except RpcError:
        return None
