"""The order of the calls of one connection. For the trio thread.

- Changes of one instance take effect one after the other. Those of different instances do not wait for each other: their
  writes share round trips to Redis.
- A read of a name takes effect after the changes of that name that came before it, and before those that come after it.

Each such call runs in a task of its own, and trio starts tasks in any order. So a call takes its place while its line is
read, and its task waits for the earlier calls. A read that is answered while its line is read takes no place.
"""

import math
from collections.abc import Callable
from typing import Any

import trio

from minikube.jsonrpc.messages import Request, RpcError
from minikube.model import Address
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.catalog.catalog import ALL_NAMES
from minikube.registry.validation import as_address, named_params

ORDERED_METHODS = frozenset(
    ("Discovery.Register", "Discovery.Deregister", "Discovery.Renew", "Discovery.Maintenance"),
)
READ_METHODS = frozenset(
    ("Discovery.Get", "Discovery.Instances", "Discovery.Services", "Discovery.Wait", "Discovery.Watch"),
)

READ_WAIT_S = 1.0
"""How long a read waits for the changes before it. Redis that hangs is found out in 1.5 s, and a change fails after 2 s; the
reads of its connection are answered from memory by then."""

_ADDRESS_NAMES = {"ip": "IP", "port": "Port", "zone": "Zone"}

MAX_KEYS = 8
"""The most instances, and the most names, that a call takes over from the calls before it: with any number of them, the calls of
one batch about one id at changing addresses would take half a second and 40 MB."""

# Keys of groups: of an instance its id and `NAME ADDR`, of a name ` NAME`. These three are numbers, because clients choose ids
# and names, also wrong ones: a call about ` *` must not wait for itself.
_Key = str | int
_ALL = 0
"""The reads of all names."""
_UNKNOWN = 1
"""The changes of instances that this registry does not know yet, or of more than `MAX_KEYS` names: they may have any name."""
_SERIAL = 2
"""The changes of more than `MAX_KEYS` instances, and all changes behind them: these take effect one after the other."""


class _Group:
    """Calls that need not wait for each other: one change of an instance; or changes of a name, or reads of it, in a row."""

    __slots__ = ("before", "ended", "is_closed", "is_read", "place", "under_way")

    def __init__(self, before: "_Group | None", place: "_Place") -> None:
        self.before = before
        """The group that must be over before these calls take effect; None where there is none, or it is over."""
        self.place = place
        """The first call of the group."""
        self.is_read = place.is_read
        self.is_closed = False
        """Whether no later call may join, as it comes behind one that waits for this group: a read of all names where these
        are changes, a change where they are reads of all names."""
        self.under_way = 0
        self.ended: trio.Event | None = None
        """Made for the first call that waits: most groups have none behind them."""

    @property
    def is_over(self) -> bool:
        """Whether its calls and all before them have ended. A call may end out of turn: cancelled, dropped or too late."""
        group: _Group | None = self
        while group is not None and not group.under_way:
            group = group.before
        return group is None

    async def wait_over(self) -> None:
        """Wait until the group is over."""
        group: _Group | None = self
        while group is not None:
            if group.under_way:
                if group.ended is None:
                    group.ended = trio.Event()
                await group.ended.wait()
            group = group.before


class _Place:
    """The place of one call among those of its connection."""

    __slots__ = ("groups", "instance_keys", "is_read", "name_keys", "others")

    def __init__(
        self, instance_keys: tuple[_Key, ...] = (), name_keys: tuple[_Key, ...] = (), *, is_read: bool = True
    ) -> None:
        self.instance_keys = instance_keys
        self.name_keys = name_keys
        self.is_read = is_read
        self.groups: list[tuple[_Key, _Group]] = []
        self.others: tuple[_Group, ...] = ()
        """More groups that must be over before the call takes effect: changes of any name, or reads of all names."""


class _Places:
    """The places of one connection: by request, and the newest group of each key."""

    __slots__ = ("by_request", "changes", "newest")

    def __init__(self) -> None:
        self.by_request: dict[int, _Place] = {}
        self.changes = 0
        """How many of the calls change an instance."""
        self.newest: dict[_Key, _Group] = {}


class CallOrder:
    """The calls under way of all connections. `find_name` returns the name of a known instance's id, None for others."""

    def __init__(self, find_name: Callable[[str], str | None]) -> None:
        self.changing: set[RpcConnection] = set()
        """The connections on which changes are under way: only there a read may have to wait."""
        self._find_name = find_name
        self._connections: dict[RpcConnection, _Places] = {}
        """Those with calls under way. Not a `WeakKeyDictionary`, whose look-ups take a microsecond each."""

    def add_change(self, request: Request, connection: RpcConnection) -> None:
        """Give a call that changes an instance its place. Call it in the order in which the lines came."""
        own, name = changed_keys(request)
        if not own:
            return
        places = self._places_of(connection)
        place = self._place_of_change(places.newest, own, name)
        for key in place.instance_keys:
            _join(places, place, key, alone=True)
        for key in place.name_keys:
            _join(places, place, key)
        if (reads := places.newest.get(_ALL)) is not None:
            reads.is_closed = True
            place.others = (reads,)
        places.by_request[id(request)] = place
        places.changes += 1
        self.changing.add(connection)

    def _place_of_change(self, newest: dict[_Key, _Group], own: tuple[str, ...], name: str) -> _Place:
        """Return a place for the change of an instance, given what the call says of it (`changed_keys`)."""
        instances: tuple[_Key, ...] = own
        names: tuple[_Key, ...] = (f" {name}",) if name else ()
        for key in own:
            if (earlier := newest.get(key)) is not None:
                # A registration without an id replaces the one at its address and takes its id: calls about that id come
                # after both. And what was registered on this connection a moment ago has a name.
                instances += earlier.place.instance_keys
                names += earlier.place.name_keys
            elif (found := self._find_name(key)) is not None and found != name:
                names += (f" {found}",)
        instances, names = _unique(instances), _unique(names) or (_UNKNOWN,)
        if len(instances) > MAX_KEYS or _SERIAL in newest:
            instances = (*own, _SERIAL)
        if len(names) > MAX_KEYS:
            names = (*names[:MAX_KEYS], _UNKNOWN)
        return _Place(instances, names, is_read=False)

    def add_read(self, request: Request, connection: RpcConnection, *, always: bool = False) -> bool:
        """Give a read its place if it must wait, or with `always` in any case; return whether it has one."""
        name = read_name(request)
        if not name or not (always or connection in self.changing):
            return False
        places = self._places_of(connection)
        place, newest = _Place(), places.newest
        if name == ALL_NAMES:
            if not (always or places.changes):
                return False
            place.others = tuple(changes for group in newest.values() if (changes := _changes_before(group)))
            for group in place.others:
                group.is_closed = True
            _join(places, place, _ALL)
        else:
            waits_for_unknown = _changes_before(newest.get(_UNKNOWN)) is not None
            if not (always or waits_for_unknown or _changes_before(newest.get(f" {name}"))):
                return False
            _join(places, place, f" {name}")
            if waits_for_unknown:
                _join(places, place, _UNKNOWN)
        places.by_request[id(request)] = place
        return True

    def has_calls(self, id_: str, connection: RpcConnection) -> bool:
        """Return whether calls of the connection that change this instance are under way."""
        places = self._connections.get(connection)
        return places is not None and (id_ in places.newest or _SERIAL in places.newest)

    def must_wait(self, request: Request, connection: RpcConnection) -> bool:
        """Return whether the call must call `wait_turn` before it takes effect."""
        place = self._place(request, connection)
        return place is not None and (bool(place.others) or any(group.before is not None for _, group in place.groups))

    async def wait_turn(self, request: Request, connection: RpcConnection) -> bool:
        """Wait until the earlier calls have taken effect. Return False for a read that has waited for too long."""
        place = self._place(request, connection)
        if place is None:
            return True
        with trio.move_on_after(READ_WAIT_S if place.is_read else math.inf) as waited:
            for _, group in place.groups:
                if group.before is not None:
                    await group.before.wait_over()
                    group.before = None
            for group in place.others:
                await group.wait_over()
        return not waited.cancelled_caught

    def end(self, request: Request, connection: RpcConnection) -> None:
        """Let the calls behind this one take effect; a second call of this does nothing."""
        places = self._connections.get(connection)
        place = places.by_request.pop(id(request), None) if places else None
        if places is None or place is None:
            return
        if not place.is_read:
            places.changes -= 1
            if not places.changes:
                self.changing.discard(connection)
        for key, group in place.groups:
            group.under_way -= 1
            if group.under_way:
                continue
            if group.ended is not None:
                group.ended.set()
            # Not only the group of this call: those behind it may have ended before it, out of turn.
            if (newest := places.newest.get(key)) is not None and newest.is_over:
                del places.newest[key]
        place.groups.clear()  # place and groups refer to each other: without the garbage collector they would stay
        if not places.by_request:
            del self._connections[connection]

    def _place(self, request: Request, connection: RpcConnection) -> _Place | None:
        places = self._connections.get(connection)
        return places.by_request.get(id(request)) if places else None

    def _places_of(self, connection: RpcConnection) -> _Places:
        places = self._connections.get(connection)
        if places is None:
            places = self._connections[connection] = _Places()
        return places


def _join(places: _Places, place: _Place, key: _Key, *, alone: bool = False) -> None:
    """Add a call to the newest group of a key, or with `alone`, or where that one is of the other kind, to a new group."""
    group = places.newest.get(key)
    if group is None:  # most calls have none before them
        group = places.newest[key] = _Group(None, place)
    elif alone or group.is_closed or not group.under_way or group.is_read != place.is_read:
        group = places.newest[key] = _Group(None if group.is_over else group, place)
    group.under_way += 1
    place.groups.append((key, group))


def _unique(keys: tuple[_Key, ...]) -> tuple[_Key, ...]:
    return keys if len(keys) < 2 else tuple(dict.fromkeys(keys))


def _changes_before(newest: _Group | None) -> _Group | None:
    """Return the group that a read behind the newest one of a key must wait for; None if it need not wait."""
    if newest is not None and newest.is_read and newest.under_way:
        newest = newest.before
    return None if newest is None or newest.is_over else newest


def read_name(request: Request) -> str:
    """Return the name that a read asks for, `*` for all; empty if its params are wrong."""
    if request.method == "Discovery.Services":
        return ALL_NAMES
    params = request.params
    name = params[0] if type(params) is list and params and type(params[0]) is str else _given_name(request)
    return name or (ALL_NAMES if request.method == "Discovery.Instances" else "")


def _given_name(request: Request) -> str:
    """Return the value of `Name` among the params by name; empty if there is none."""
    for key, value in (named_params(request.params) or {}).items():
        if str(key).lower() == "name" and isinstance(value, str):
            return value
    return ""


def changed_keys(request: Request) -> tuple[tuple[str, ...], str]:
    """Return what the call says of the instance that it changes: its id, its `NAME ADDR`, or both; and its name.

    No keys for wrong params, and an empty name where the call gives none.
    """
    params = request.params
    if type(params) is list and params and type(params[0]) is str:
        return (params[0],), ""
    by_name = named_params(params)
    if by_name is None:
        return (), ""
    given = {str(key).lower(): value for key, value in by_name.items()}
    keys = [value for name in ("id", "uuid") if isinstance(value := given.get(name), str) and value]
    if request.method != "Discovery.Register":
        return tuple(keys), ""
    name = given.get("name")
    if (address := _address(given.get("addr"))) is not None:
        keys.append(f"{name} {address}")
    return tuple(keys), name if isinstance(name, str) else ""


def _address(value: Any) -> Address | None:
    """Return the address of a registration; None for a wrong one, which the call itself refuses."""
    if isinstance(value, dict):
        fields = {_ADDRESS_NAMES.get(str(key).lower(), ""): part for key, part in value.items()}
        host, port, zone = fields.get("IP"), fields.get("Port"), fields.get("Zone") or ""
        # `true` equals 1: `as_address` remembers addresses, and would return this one for that with port 1.
        if not (isinstance(host, str) and type(port) is int and isinstance(zone, str)):
            return None
        value = Address(host, port, zone)
    if not isinstance(value, str | Address):
        return None
    try:
        return as_address(value)
    except RpcError:
        return None
