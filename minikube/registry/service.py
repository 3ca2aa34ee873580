"""The RPC methods (floor 3), in both dialects. The catalog answers, the node writes, the judge probes.

`Discovery.Get` of a passing name and `Watch` are answered without waiting (`try_fast`, `handle_sync`), all else in a task of its
own (`handle`).
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import trio
from msgspec.structs import replace

import minikube
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
from minikube.model import CheckState
from minikube.net.auth import is_token
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.call_counters import OK, UNKNOWN, CallTally, result_name
from minikube.registry.catalog.catalog import EVERY_NAME
from minikube.registry.catalog.records import Record
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.config import RegistryConfig
from minikube.registry.node import OUTPUT_LIMIT, Node, entered
from minikube.registry.subscriptions import Watches
from minikube.registry.validation import arguments, as_name, as_record, as_type, seconds, wrong

FIRST_PROBE_S = 1.0
"""How long `Register` waits for the first verdict."""

WAIT_MAX_S = 300.0
WRONG_TOKEN_S = 0.1
"""What a wrong token waits for its answer."""

_WITHOUT_STORE = {"Discovery.Status", "Discovery.Authenticate"}

Method = Callable[[Request, RpcConnection], Awaitable[Any]]
T = TypeVar("T")

_GETS = FastGetMatcher("Discovery.Get")


class DiscoveryService:
    """Implements `net.rpc.interface.RpcService`."""

    notifying_methods = frozenset({"Discovery.Watch"})

    def __init__(self, node: Node, judge: CheckScheduler, config: RegistryConfig) -> None:
        self._node = node
        self._judge = judge
        self._config = config
        self._started = time.monotonic()
        self._watches = Watches(node.catalog)
        self._lists = trio.CapacityLimiter(1)
        """A list of thousands takes milliseconds: one at a time, and whoever else is ready comes in between."""
        self._tally = CallTally()
        self.on_handled = self._tally.answered
        self._methods: dict[str, Method] = {
            "Discovery.Register": self._register,
            "Discovery.Get": self._get,
            "Discovery.Deregister": self._deregister,
            "Discovery.Renew": self._renew,
            "Discovery.Instances": self._instances,
            "Discovery.Services": self._services,
            "Discovery.Maintenance": self._maintenance,
            "Discovery.Wait": self._wait,
            "Discovery.Watch": self._watch,
            "Discovery.Unwatch": self._unwatch,
            "Discovery.Status": self._status,
            "Discovery.Authenticate": self._authenticate,
        }

    def try_fast(self, data: bytes, peer: RpcConnection) -> bytes | None:
        """The fastest path: a receive of nothing but lookups, in the one form that Go's client gives them."""
        if self._node.stale or (self._config.token and not peer.authenticated):
            return None
        began, count = time.perf_counter(), 1
        turns = self._node.catalog.turns
        try:
            if one := _GETS.match_one(data):
                answer = format_reply(one[1], next(turns[one[0]]))
            elif many := _GETS.match_all(data):
                names, ids = many
                count = len(ids)
                # All of them before any turn is taken: what is not answered here must leave no trace.
                answer = format_replies(ids, map(next, [*map(turns.__getitem__, names)]))
            else:
                return None
        except KeyError:
            return None
        self._tally.answered(count, time.perf_counter() - began)
        return answer

    def handle_sync(self, request: Request, peer: RpcConnection) -> bytes | None:
        """The fast path."""
        if self._config.token and not peer.authenticated:
            if request.method == "Discovery.Authenticate" and self._is_token(request.params):
                peer.authenticated = True  # at once: what came in the same receive counts on it
                self._tally.aside(request.method, OK, 0.0)
                return encode_reply(request, True)
            return None
        if request.method == "Discovery.Get":
            params = request.params
            if type(params) is list and len(params) == 1 and type(params[0]) is str:
                reply = self._node.catalog.get(params[0])
                if reply is not None:
                    line = splice_reply(request, reply)
                    return mark_stale(line) if self._node.stale else line
        elif request.method == "Discovery.Watch" and self._node.loaded.is_set():
            began, result = time.perf_counter(), OK
            try:
                line = encode_reply(request, self._watches.begin(request, peer))
                return mark_stale(line) if self._node.stale else line
            except Exception as error:
                result = result_name(error)
                raise
            finally:
                self._tally.aside(request.method, result, time.perf_counter() - began)
        return None

    async def handle(self, request: Request, peer: RpcConnection) -> Any:
        """Everything else. Raises RpcError, NotFound, Unavailable."""
        began, result = time.perf_counter(), OK
        try:
            return await self._handle(request, peer)
        except trio.Cancelled:
            result = "cancelled"
            raise
        except Exception as error:
            result = result_name(error)
            raise
        finally:
            name = request.method if request.method in self._methods else UNKNOWN
            self._tally.note(name, result, time.perf_counter() - began)

    async def _handle(self, request: Request, peer: RpcConnection) -> Any:
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(self._methods)
            raise RpcError(METHOD_NOT_FOUND, f"unknown method {request.method[:80]!r}, expected one of {known}")
        if self._config.token and not peer.authenticated and request.method != "Discovery.Authenticate":
            raise RpcError(UNAUTHORIZED, "unauthorized: call Discovery.Authenticate with the registry's token first")
        if request.method not in _WITHOUT_STORE and not self._node.loaded.is_set():
            await self._node.wait_loaded()
            await peer.wait_writable()  # many of the same caller's may have waited with this one
        try:
            result = await method(request, peer)
        except RpcError as error:
            if error.code == NOT_FOUND and self._node.stale:
                raise RpcError(NOT_FOUND, f"{error.message} (as far as is remembered: the store is away)") from None
            raise
        return mark_stale(encode_reply(request, result)) if self._node.stale else result

    # ------------------------------------------------------------ reading

    async def _get(self, request: Request, peer: RpcConnection) -> Any:
        (asked,) = arguments(request.params, "Name", least=1)
        name = as_name(asked)
        reply = self._node.catalog.get(name)
        if reply is not None:
            return msgspec.Raw(reply)
        counts = self._node.catalog.services().get(name)
        if counts is None:
            raise RpcError(NOT_FOUND, f"{name}: no instance is registered")
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        raise RpcError(NOT_FOUND, f"{name}: no passing instance ({told})")

    async def _instances(self, request: Request, peer: RpcConnection) -> Any:
        (asked,) = arguments(request.params, "Name")
        name = EVERY_NAME if asked in (None, "") else as_name(asked, every=True)
        return await self._in_turn(peer, lambda: msgspec.Raw(self._node.catalog.instances_json(name)))

    async def _services(self, request: Request, peer: RpcConnection) -> Any:
        arguments(_without_placeholder(request), "")
        return await self._in_turn(peer, self._node.catalog.services)

    async def _in_turn(self, peer: RpcConnection, make: Callable[[], T]) -> T:
        """A long answer, made once there is room for it. Nothing may wait between here and the answer's queueing."""
        while True:
            await peer.wait_writable()
            async with self._lists:
                if peer.is_writable:  # many of the same caller's may have waited for this turn
                    return make()

    async def _status(self, request: Request, peer: RpcConnection) -> Any:
        counted = _asks_counters(request.params)
        if not counted:
            arguments(_without_placeholder(request), "")
        node, state = self._node, self._node.store.state
        told = {"Counters": self._counters()} if counted else {}
        return {
            "Version": minikube.__version__,
            "Node": node.id,
            "Nodes": list(node.nodes.living),
            "Uptime": self._uptime(),
            "Instances": len(node.catalog.records),
            "Services": node.catalog.services(),
            "Revision": node.catalog.revision,
            "Store": {"State": state.state, "Since": state.since, "Detail": state.detail},
            "Stale": not state.ok,
            "Doubt": self._judge.doubt,
            "LastDoubt": dict(zip(("Since", "Detail"), self._judge.last_doubt, strict=True)),
            "Clients": peer.clients,
            **told,
        }

    def counted(self, clients: int | None = None) -> RegistryStatus:
        """The figures that `/metrics` shows."""
        catalog, stale = self._node.catalog, not self._node.store.state.ok
        return RegistryStatus(self._uptime(), len(catalog.records), catalog.revision, clients, stale, self._counters())

    def _uptime(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _counters(self) -> RegistryCounters:
        return RegistryCounters(self._tally.view, self._judge.tally.view)

    async def _wait(self, request: Request, peer: RpcConnection) -> Any:
        asked, after, limit = arguments(request.params, "Name", "Revision", "Timeout", least=1)
        name = as_name(asked, every=True)
        revision = as_type(after or 0, int, "Revision")
        timeout = seconds(limit, "Timeout", 30.0, 0.0, WAIT_MAX_S)
        catalog = self._node.catalog
        changed = trio.Event()
        unsubscribe = catalog.subscribe(name, lambda _: changed.set())
        try:
            # A revision from the future is another store's: the caller is to look anew, not to wait.
            if catalog.name_revision(name) <= revision <= catalog.revision:
                with trio.move_on_after(timeout):
                    await changed.wait()
        finally:
            unsubscribe()
        return await self._in_turn(
            peer,
            lambda: {
                "Revision": catalog.name_revision(name),
                "Instances": msgspec.Raw(catalog.instances_json(name)),
            },
        )

    async def _watch(self, request: Request, peer: RpcConnection) -> Any:
        """One that came before the store was read. Nothing waits between here and the answer's queueing."""
        return self._watches.begin_late(request, peer)

    async def _unwatch(self, request: Request, peer: RpcConnection) -> Any:
        (number,) = arguments(request.params, "Watch", least=1)
        return self._watches.end(peer, as_type(number, int, "Watch"))

    # ------------------------------------------------------------ writing

    async def _register(self, request: Request, peer: RpcConnection) -> Any:
        record = as_record(request.params, self._config.allow_checks, secrets.token_hex(4), time.time())
        stored = await self._node.register(record)
        await self._judge.wait_first(stored.id, FIRST_PROBE_S)
        return stored.id

    async def _deregister(self, request: Request, peer: RpcConnection) -> Any:
        asked, incarnation = arguments(request.params, "Id", "Incarnation", least=1)
        number = None if incarnation is None else as_type(incarnation, int, "Incarnation")
        id_ = as_type(asked, str, "Id")
        if id_ not in self._node.catalog.records:
            await self._node.catch_up()  # another registry may have taken it a moment ago
        return await self._node.remove(id_, number)

    async def _renew(self, request: Request, peer: RpcConnection) -> Any:
        asked, state, output = arguments(request.params, "Id", "State", "Output", least=1)
        id_ = as_type(asked, str, "Id")
        if state not in (None, "", "passing", "critical"):
            raise wrong(f'State: expected "passing" or "critical", got {str(state)[:80]!r}')
        if id_ not in self._node.catalog.records:
            await self._node.catch_up()
        record = self._node.catalog.records.get(id_)
        if record is None:
            raise RpcError(NOT_FOUND, f"{id_[:80]}: no such instance — register again")
        if not state:
            self._judge.renewed(id_)
        elif record.instance.health_check != "ttl:":
            raise wrong(f'State: {id_} is checked by the registry; only one with the HealthCheck "ttl:" says how it is')
        else:
            await self._judge.reported(id_, state == "passing", as_type(output or "", str, "Output")[:OUTPUT_LIMIT])
        # The lease of one that says it is critical is not renewed: its ward on another registry would take it for a pass.
        if self._node.store.share_leases and record.instance.health_check == "ttl:" and state != "critical":
            await self._node.store.commit(id_)
        return True

    async def _maintenance(self, request: Request, peer: RpcConnection) -> Any:
        asked, on, why = arguments(request.params, "Id", "On", "Reason", least=2)
        id_, wanted = as_type(asked, str, "Id"), as_type(on, bool, "On")
        reason = as_type(why or "", str, "Reason")
        if id_ not in self._node.catalog.records:
            await self._node.catch_up()
        record = self._node.catalog.records.get(id_)
        if record is None:
            raise RpcError(NOT_FOUND, f"{id_[:80]}: no such instance")

        def change(old: Record) -> Record | None:
            current = old.instance.state
            if wanted and current is not CheckState.MAINTENANCE:
                return replace(
                    entered(old, CheckState.MAINTENANCE, reason or "maintenance", time.time()), resumed=current
                )
            if not wanted and current is CheckState.MAINTENANCE:
                return entered(old, old.resumed, "maintenance is over", time.time())
            return None

        if await self._node.update(id_, record.instance.incarnation, change) is None:
            raise RpcError(NOT_FOUND, f"{id_}: it was replaced or removed meanwhile")
        return True

    # ------------------------------------------------------------ who may

    async def _authenticate(self, request: Request, peer: RpcConnection) -> Any:
        (given,) = arguments(request.params, "Token", least=1)
        as_type(given, str, "Token")
        if self._config.token and not self._is_token(request.params):
            await trio.sleep(WRONG_TOKEN_S)
            raise RpcError(UNAUTHORIZED, "unauthorized: the token is wrong")
        peer.authenticated = True
        return True

    def _is_token(self, params: Any) -> bool:
        given = params.get("Token", params.get("token")) if isinstance(params, dict) else (params or [None])[0]
        return is_token(given, self._config.token)


def _without_placeholder(request: Request) -> Any:
    """Go's client always sends one param, `null` or a struct for methods that take none."""
    params = request.params
    return [] if isinstance(params, list) and len(params) == 1 else params


def _asks_counters(params: Any) -> bool:
    """`Discovery.Status` with `{"Counters": true}`, by name or as the one param, or with `[true]`."""
    asked = params[0] if isinstance(params, list) and len(params) == 1 else params
    return asked is True or (isinstance(asked, dict) and asked == {"Counters": True})
