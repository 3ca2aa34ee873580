"""The RPC methods (`Discovery.*`), in both dialects: the catalog answers, the node writes, the scheduler checks.

Three ways to answer, tried in this order by the connection:

- `try_fast` for speed: a receive of nothing but plain `Discovery.Get` calls is answered from its bytes. With it lookups are
  as fast as Go's `net/rpc/jsonrpc` over a map: 1.0 × one at a time, 1.1 × with 64 connections, 10.9 × pipelined.
- `handle_sync` for everything else that needs no waiting: `Discovery.Get` of a passing name, `Discovery.Watch`, a right token.
- `handle`, in a task of its own, for the rest.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import trio

import minikube
from minikube.errors import Unavailable
from minikube.jsonrpc.fast_get import FastGetMatcher, format_replies, format_reply
from minikube.jsonrpc.messages import (
    METHOD_NOT_FOUND,
    NOT_FOUND,
    UNAUTHORIZED,
    Request,
    RpcError,
    encode_reply,
    mark_stale,
    splice_reply,
)
from minikube.metrics.counters import RegistryCounters, RegistryStatus
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.access.access_control import AccessControl
from minikube.registry.call_counters import OK, UNKNOWN_METHOD, CallCounters, result_name
from minikube.registry.call_order import ORDERED_METHODS, READ_METHODS, CallOrder
from minikube.registry.catalog.catalog import ALL_NAMES
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.config import RegistryConfig
from minikube.registry.loopback import set_loopback_host, with_loopback_host
from minikube.registry.node import RegistryNode
from minikube.registry.subscriptions import Subscriptions
from minikube.registry.token_methods import TokenMethods, token_argument
from minikube.registry.validation import (
    arguments,
    as_name,
    as_seconds,
    as_type,
    without_placeholder,
)
from minikube.registry.write_methods import WriteMethods

MAX_WAIT_S = 300.0

MAX_SHORT_LIST = 64
"""Instances of a name that are listed without a task: 20 KB, some 50 µs where they have changed since the last list."""

_METHODS_WITHOUT_STORE = {"Discovery.Status", "Discovery.Authenticate", "Discovery.Reserve"}

Method = Callable[[Request, RpcConnection], Awaitable[Any]]
T = TypeVar("T")

_MATCHER = FastGetMatcher("Discovery.Get")


class DiscoveryService:
    """The methods of one registry; implements `net.rpc.interface.RpcService`."""

    notifying_methods = frozenset({"Discovery.Watch"})

    def __init__(
        self, node: RegistryNode, checks: CheckScheduler, config: RegistryConfig, access: AccessControl
    ) -> None:
        self._node = node
        self._checks = checks
        self._config = config
        self._access = access
        self._started = time.monotonic()
        self._subscriptions = Subscriptions(node.catalog)
        # A list of thousands of instances takes milliseconds: one at a time, with other tasks in between.
        self._list_turn = trio.CapacityLimiter(1)
        self._calls = CallCounters()
        self._order = CallOrder(node.catalog.find_name)
        self._changing = self._order.changing
        self.on_handled = self._calls.count_fast
        self.on_ended = self._order.end
        self._writes = writes = WriteMethods(node, checks, access, self._order, config.allow_checks)
        tokens = TokenMethods(access)
        self._methods: dict[str, Method] = {
            "Discovery.Register": writes.register,
            "Discovery.Get": self._get,
            "Discovery.Deregister": writes.deregister,
            "Discovery.Renew": writes.renew,
            "Discovery.Instances": self._instances,
            "Discovery.Services": self._services,
            "Discovery.Maintenance": writes.maintenance,
            "Discovery.Wait": self._wait,
            "Discovery.Watch": self._watch,
            "Discovery.Unwatch": self._unwatch,
            "Discovery.Status": self._status,
            "Discovery.Authenticate": tokens.authenticate,
            "Discovery.CreateToken": tokens.create_token,
            "Discovery.Tokens": tokens.tokens,
            "Discovery.RevokeToken": tokens.revoke_token,
            "Discovery.Reserve": tokens.reserve,
            "Discovery.TokenRights": tokens.token_rights,
        }

    def try_fast(self, data: bytes, connection: RpcConnection) -> bytes | None:
        """Return the replies if `data` consists only of lookups exactly as Go's client writes them; else None."""
        # A lookup behind a change of the same connection may have to wait for it.
        if self._node.is_stale or connection in self._changing or (self._config.token and not connection.authenticated):
            return None
        if connection.loopback_host:
            return None
        began, count = time.perf_counter(), 1
        replies = self._node.catalog.replies
        try:
            if call := _MATCHER.match_one(data):
                answer = format_reply(call[1], next(replies[call[0]]))
            elif calls := _MATCHER.match_all(data):
                names, ids = calls
                count = len(ids)
                # Look all names up before taking any turn: a receive with an unknown name is answered elsewhere, and must
                # not have moved the round robin here.
                answer = format_replies(ids, map(next, [*map(replies.__getitem__, names)]))
            else:
                return None
        except KeyError:
            return None
        self._calls.count_fast(count, time.perf_counter() - began)
        return answer

    def handle_sync(self, request: Request, connection: RpcConnection) -> bytes | None:
        """Return the whole line of the answer if it needs no waiting, else None. Raises RpcError."""
        if request.method == "Discovery.Authenticate":
            # Without waiting: later calls of the same receive rely on it.
            if self._access.authenticate_known(connection, token_argument(request.params)):
                self._calls.count_fast_other(request.method, OK, 0.0)
                return encode_reply(request, True)
            return None
        if request.method == "Discovery.Via":
            # Before any token: the relay of a container's network sends it, and its clients authenticate themselves.
            return self._handle_now(request, connection, self._set_loopback_host)
        if self._config.token and not connection.authenticated:
            return None
        if connection in self._changing and request.method in READ_METHODS and self._add_read(request, connection):
            return None
        if request.method == "Discovery.Get":
            params = request.params
            if type(params) is list and len(params) == 1 and type(params[0]) is str:
                reply = self._node.catalog.next_reply(params[0])
                if reply is not None:
                    line = splice_reply(request, with_loopback_host(reply, connection))
                    return mark_stale(line) if self._node.is_stale else line
        elif request.method == "Discovery.Watch" and self._node.loaded.is_set():
            return self._handle_now(request, connection, self._start_watch)
        elif request.method in ORDERED_METHODS:
            if request.method == "Discovery.Renew" and self._node.loaded.is_set():
                renewed = self._handle_now(request, connection, self._writes.try_renew)
                if renewed is not None:
                    return renewed
            self._order.add_change(request, connection)
        # Not for a notification: no limit counts its list, so that a receive of a thousand could take seconds.
        elif request.method == "Discovery.Instances" and self._node.loaded.is_set() and not request.is_notification:
            listed = self._handle_now(request, connection, self._try_instances)
            if listed is not None:
                return listed
        if request.method in READ_METHODS:
            self._add_read(request, connection, always=True)
        return None

    def _add_read(self, request: Request, connection: RpcConnection, *, always: bool = False) -> bool:
        """Give a read its place behind the changes of its connection, unless Redis is down: reads do not wait for it then."""
        if self._node.is_stale and self._node.loaded.is_set():
            return False
        return self._order.add_read(request, connection, always=always)

    def _handle_now(
        self, request: Request, connection: RpcConnection, method: Callable[[Request, RpcConnection], Any]
    ) -> bytes | None:
        """Return the line of the answer of a method that does not wait; None where it returns None. Raises RpcError."""
        began = time.perf_counter()
        try:
            value = method(request, connection)
        except Exception as error:
            self._calls.count_fast_other(request.method, result_name(error), time.perf_counter() - began)
            raise
        if value is None:
            return None
        line = encode_reply(request, value)
        self._calls.count_fast_other(request.method, OK, time.perf_counter() - began)
        return mark_stale(line) if self._node.is_stale else line

    async def handle(self, request: Request, connection: RpcConnection) -> Any:
        """Return the result of any call; a whole `ReplyLine` while Redis is down. Raises RpcError, NotFound, Unavailable."""
        began, result = time.perf_counter(), OK
        try:
            return await self._handle(request, connection)
        except trio.Cancelled:
            result = "cancelled"
            raise
        except Exception as error:
            result = result_name(error)
            raise
        finally:
            method = request.method if request.method in self._methods else UNKNOWN_METHOD
            self._calls.count(method, result, time.perf_counter() - began)

    async def _handle(self, request: Request, connection: RpcConnection) -> Any:
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(self._methods)
            raise RpcError(METHOD_NOT_FOUND, f"unknown method {request.method[:80]!r}, expected one of {known}")
        if self._config.token and not connection.authenticated and request.method != "Discovery.Authenticate":
            raise RpcError(UNAUTHORIZED, "unauthorized: call Discovery.Authenticate with the registry's token first")
        if request.method not in _METHODS_WITHOUT_STORE and not self._node.loaded.is_set():
            await self._node.wait_loaded()
            await connection.wait_writable()  # many calls of this connection may have waited for the same moment
        in_turn = not self._order.must_wait(request, connection) or await self._order.wait_turn(request, connection)
        try:
            result = await method(request, connection)
        except RpcError as error:
            if error.code == NOT_FOUND and not in_turn:
                # The change that it did not wait for may be a registration.
                raise Unavailable(
                    "store unavailable: Redis has not taken an earlier change of this connection"
                ) from None
            if error.code == NOT_FOUND and self._node.is_stale:
                raise RpcError(NOT_FOUND, f"{error.message} (as far as is remembered: Redis is down)") from None
            raise
        return mark_stale(encode_reply(request, result)) if self._node.is_stale or not in_turn else result

    # ------------------------------------------------------------ reading

    async def _get(self, request: Request, connection: RpcConnection) -> Any:
        (name_argument,) = arguments(request.params, "Name", required=1)
        name = as_name(name_argument)
        reply = self._node.catalog.next_reply(name)
        if reply is not None:
            return msgspec.Raw(with_loopback_host(reply, connection))
        counts = self._node.catalog.services().get(name)
        if counts is None:
            raise RpcError(NOT_FOUND, f"{name}: no instance is registered")
        states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        raise RpcError(NOT_FOUND, f"{name}: no passing instance ({states})")

    def _try_instances(self, request: Request, connection: RpcConnection) -> Any:
        """Return the instances of a name that has few, else None. In a task of its own such a list would cost twice as much."""
        name, catalog = _list_name(request), self._node.catalog
        if name == ALL_NAMES or len(catalog.by_name.get(name, ())) > MAX_SHORT_LIST:
            return None
        return self._list_json(name, connection)

    def _list_json(self, name: str, connection: RpcConnection) -> msgspec.Raw:
        """Return the instances of a name (`*`: of all) as the client of the connection may see and can reach them."""
        encoded = self._node.catalog.instances_json(name, with_output=self._access.may_read_output(connection))
        return msgspec.Raw(with_loopback_host(encoded, connection))

    @staticmethod
    def _set_loopback_host(request: Request, connection: RpcConnection) -> bool:
        return set_loopback_host(request.params, connection)

    async def _instances(self, request: Request, connection: RpcConnection) -> Any:
        name = _list_name(request)
        return await self._make_list(connection, lambda: self._list_json(name, connection))

    async def _services(self, request: Request, connection: RpcConnection) -> Any:
        arguments(without_placeholder(request.params), "")
        return await self._make_list(connection, self._node.catalog.services)

    async def _make_list(self, connection: RpcConnection, make: Callable[[], T]) -> T:
        """Wait until the connection is writable, then return `make()`, a large result.

        The caller must return it without waiting, so that few large results are in memory at the same time.
        """
        # Made earlier, the lists of one connection's calls would take hundreds of MB while they wait to be sent.
        while True:
            await connection.wait_writable()
            async with self._list_turn:
                if connection.is_writable:  # other calls of this connection may have waited for the turn, too
                    return make()

    async def _status(self, request: Request, connection: RpcConnection) -> Any:
        with_counters = _asks_for_counters(request)
        node, store = self._node, self._node.store.state
        return {
            "Version": minikube.__version__,
            "Node": node.id,
            "Nodes": list(node.live_nodes.alive),
            "Uptime": self._uptime(),
            "Instances": len(node.catalog.records),
            "Services": node.catalog.services(),
            "Revision": node.catalog.revision,
            "Store": {
                "State": store.state,
                "Since": store.since,
                "Detail": store.detail,
                "Loaded": node.loaded.is_set(),
            },
            "Stale": not store.ok,
            # `Doubt` is the wire's name for a mass failure: the registry doubts its own results.
            "Doubt": self._checks.mass_failures.current,
            "LastDoubt": dict(zip(("Since", "Detail"), self._checks.mass_failures.last, strict=True)),
            "Clients": connection.clients,
            "Refused": self._access.refusal_count,
            "Refusals": list(self._access.refusals) if self._access.caller(connection).is_admin else [],
            **({"Counters": self._counters()} if with_counters else {}),
        }

    def metrics(self, clients: int | None = None) -> RegistryStatus:
        """Return the metrics that `/metrics` shows. `clients` is the number of connections, where it is known."""
        catalog, stale = self._node.catalog, not self._node.store.state.ok
        return RegistryStatus(self._uptime(), len(catalog.records), catalog.revision, clients, stale, self._counters())

    def _uptime(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _counters(self) -> RegistryCounters:
        return RegistryCounters(self._calls.view, self._checks.probes.view)

    async def _wait(self, request: Request, connection: RpcConnection) -> Any:
        name_argument, after, limit = arguments(request.params, "Name", "Revision", "Timeout", required=1)
        name = as_name(name_argument, allow_all=True)
        revision = as_type(after or 0, int, "Revision")
        timeout = as_seconds(limit, "Timeout", 30.0, 0.0, MAX_WAIT_S)
        catalog = self._node.catalog
        changed = trio.Event()
        unsubscribe = catalog.subscribe(name, lambda _: changed.set())
        try:
            # A revision beyond the catalog's is from another history: the caller must read anew, so it does not wait.
            if catalog.name_revision(name) <= revision <= catalog.revision:
                self._order.end(request, connection)  # the change that it waits for may come behind it
                with trio.move_on_after(timeout):
                    await changed.wait()
        finally:
            unsubscribe()
        return await self._make_list(
            connection,
            lambda: {
                "Revision": catalog.name_revision(name),
                "Instances": self._list_json(name, connection),
            },
        )

    async def _watch(self, request: Request, connection: RpcConnection) -> Any:
        """Start a watch that had to wait, for Redis to be read or for an earlier change; `handle_sync` starts all others."""
        # No await between here and the queueing of the result: `_HeldNotifications` relies on it.
        with_output = self._access.may_read_output(connection)
        return self._subscriptions.start_waited(request, connection, with_output=with_output)

    def _start_watch(self, request: Request, connection: RpcConnection) -> Any:
        return self._subscriptions.start(request, connection, with_output=self._access.may_read_output(connection))

    async def _unwatch(self, request: Request, connection: RpcConnection) -> Any:
        (number,) = arguments(request.params, "Watch", required=1)
        return self._subscriptions.stop(connection, as_type(number, int, "Watch"))


def _list_name(request: Request) -> str:
    """Return the name that `Discovery.Instances` asks for, `*` for all. Raises RpcError."""
    (name,) = arguments(request.params, "Name")
    return ALL_NAMES if name in (None, "") else as_name(name, allow_all=True)


def _asks_for_counters(request: Request) -> bool:
    """Return whether `Discovery.Status` is called with `Counters`, by position or by name."""
    (counters,) = arguments(without_placeholder(request.params), "Counters")
    return bool(counters) and as_type(counters, bool, "Counters")
