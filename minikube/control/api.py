"""The requests of the control API by path and method, as docs/cli.md lists them.

State comes from the `StateStore`, whose snapshot is also what the stream sends. Commands, log lines, registered instances and
the registry's metrics come from `ProjectCommands`. Unknown paths, methods, query parameters and body fields are refused with
a JSON error that names them. Reading and writing is done by `net.http_server`.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from minikube.control.auth import OPEN_PATHS, authorize
from minikube.control.client.messages import ClearReply, EventsReply, status_of
from minikube.control.encoding import EncodeCache, encode
from minikube.control.http_sd import target_groups
from minikube.control.interface import ProjectCommands
from minikube.control.metrics import Scrape, render_metrics
from minikube.control.ndjson import KEEPALIVE_S, follow_events, open_ndjson
from minikube.control.parameters import (
    ApplyBody,
    EmptyBody,
    KillBody,
    MaintenanceBody,
    ScaleBody,
    ShutdownBody,
    flag,
    integer,
    moment,
    parse_body,
    parse_query,
    repeated_values,
    seconds,
    shorten,
)
from minikube.control.service_reply import find, make_service_reply
from minikube.control.state_store import StateStore
from minikube.control.stream import Stream
from minikube.errors import MinikubeError
from minikube.logs.filter import LogFilter
from minikube.logs.query import ALL_LINES, TAIL_DEFAULT, TAIL_MAX, LogQuery
from minikube.net.http_messages import Reply, Request, Response, StreamReply, error_reply

log = logging.getLogger(__name__)

EVENTS_MAX = 1_000

Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """Handles the HTTP requests of the control API.

    `token` is the bearer token of its clients, `hosts` are the names by which they may address the server.
    """

    def __init__(self, store: StateStore, commands: ProjectCommands, *, token: str, hosts: frozenset[str]) -> None:
        self._store = store
        self._commands = commands
        self._token = token
        self._hosts = hosts
        self._stream = Stream(store)
        self._render_limiter = trio.CapacityLimiter(1)
        # Many clients wait for the same revision: its snapshot is encoded once.
        self._encode_snapshot = EncodeCache(lambda snapshot: encode(snapshot) + b"\n", size=1)
        self._endpoints: dict[str, dict[str, Endpoint]] = {
            "/health": {"GET": self._health},
            "/metrics": {"GET": self._metrics},
            "/v1/status": {"GET": self._status},
            "/v1/sd": {"GET": self._service_discovery},
            "/v1/events": {"GET": self._events},
            "/v1/logs": {
                "GET": lambda request: self._logs((), request),
                "DELETE": lambda request: self._clear_logs((), request),
            },
            "/v1/stream": {"GET": self._open_stream},
            "/v1/apply": {"POST": self._apply},
            "/v1/shutdown": {"POST": self._shutdown},
        }
        self._service_commands: dict[str, Callable[[str, Request], Awaitable[None]]] = {
            "start": lambda name, request: self._run_without_options(commands.start, name, request),
            "stop": lambda name, request: self._run_without_options(commands.stop, name, request),
            "restart": lambda name, request: self._run_without_options(commands.restart, name, request),
            "kill": self._kill,
            "scale": self._scale,
            "maintenance": self._maintenance,
        }

    async def handle(self, request: Request) -> Response:
        """Return the response to a request, or raise an exception for `on_error`."""
        denied = authorize(request, self._hosts, self._token)
        if denied is not None and not await self._has_registry_token(request, denied):
            return denied
        if request.client is not None and request.path not in OPEN_PATHS:
            request.client.is_trusted = True
        methods = self._route(request.path)
        if methods is None:
            return error_reply(404, f"no such path: {shorten(request.path)} — docs/cli.md lists all")
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            message = f"{shorten(request.path)} takes {allowed}, not {shorten(request.method)}"
            return error_reply(405, message, (("Allow", allowed),))
        return await endpoint(request)

    async def _has_registry_token(self, request: Request, denied: Reply) -> bool:
        """Return whether a request without the project's token has a registry token: `admin`, or `read` to read."""
        scheme, _, token = request.header("authorization").partition(" ")
        if denied.status != 401 or scheme.lower() != "bearer" or not token.strip():
            return False
        rights = await self._commands.token_rights(token.strip())
        return "admin" in rights or ("read" in rights and request.method in ("GET", "HEAD"))

    def on_error(self, error: Exception) -> Reply:
        """Return the reply for an exception of `handle`. An unexpected one is logged, and sent as an internal error."""
        if isinstance(error, MinikubeError):
            return Reply(status_of(error), encode({"error": str(error)}) + b"\n")
        log.error("a request failed", exc_info=error)
        return error_reply(500, "internal error — see .minikube/logs/minikube.supervisor.log")

    def _route(self, path: str) -> dict[str, Endpoint] | None:
        """Return the path's endpoints by HTTP method; None if there is no such path."""
        endpoints = self._endpoints.get(path)
        if endpoints is not None:
            return endpoints
        match path.split("/"):
            case ["", "v1", "services", name] if name:
                return {"GET": lambda request: self._service(name, request)}
            case ["", "v1", "services", name, "logs"] if name:
                return {
                    "GET": lambda request: self._logs((name,), request),
                    "DELETE": lambda request: self._clear_logs((name,), request),
                }
            case ["", "v1", "services", name, command] if name and command in self._service_commands:
                return {"POST": lambda request: self._run_command(name, command, request)}
        return None

    # ------------------------------------------------------------ reading

    async def _health(self, request: Request) -> Response:
        """Return `{"status": "ok"}`. The request needs no token."""
        return _json({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        """Return the project's metrics in the format of Prometheus."""
        parse_query(request)
        metrics_input = await self._commands.metrics_input()
        store = self._store
        counters = store.counters
        scrape = Scrape(store.snapshot, counters.view, counters.probes.view, metrics_input, self._stream.readers)
        # In a thread, because a thousand instances take 60 ms.
        body, content_type = await trio.to_thread.run_sync(
            render_metrics, scrape, request.header("accept"), limiter=self._render_limiter
        )
        return Reply(200, body, content_type)

    async def _service_discovery(self, request: Request) -> Response:
        """Return the addresses of passing instances in the format of Prometheus' HTTP service discovery."""
        query = parse_query(request, "service", "tag")
        instances = self._commands.registered_instances()
        return _json(target_groups(instances, query.get("service", ""), query.get("tag", "")))

    async def _status(self, request: Request) -> Response:
        """Return the snapshot. With `wait`, first wait up to that many seconds for a revision above `after`."""
        query = parse_query(request, "after", "wait")
        after, wait = integer(query, "after", -1), seconds(query, "wait")
        if wait:
            with trio.move_on_after(wait):
                await self._store.wait_past(after)
        return Reply(200, self._encode_snapshot(self._store.snapshot))

    async def _events(self, request: Request) -> Response:
        """Return the events with a number above `since`.

        With `wait`, first wait up to that many seconds for one. With `follow`, also send new events until the client closes the
        connection.
        """
        query = parse_query(request, "since", "wait", "follow")
        since, wait = integer(query, "since", 0), seconds(query, "wait")
        store = self._store
        if flag(query, "follow"):
            return StreamReply(lambda: open_ndjson(follow_events(store, since)))
        if wait:
            with trio.move_on_after(wait):
                while not store.events_since(since, 1):
                    await store.wait_past(store.revision)
        events = store.events_since(since, EVENTS_MAX)
        missed = bool(events) and events[0].number > since + 1
        return _json(EventsReply(tuple(events), events[-1].number if events else since, missed))

    async def _service(self, name: str, request: Request) -> Response:
        """Return the service `name` with its instances, or the instance with that name or id."""
        parse_query(request)
        reply = make_service_reply(self._store, name)
        settings = dict(self._commands.settings(reply.service.name)) if reply.service else {}
        return _json(msgspec.structs.replace(reply, settings=settings))

    async def _logs(self, names: tuple[str, ...], request: Request) -> Response:
        """Return log lines of services and instances: of `names`, or of the query's `name` parameters; without any, of all."""
        known = ("tail", "follow", "since", "until", "grep", "level")
        query = parse_query(request, *known, repeated="name" if not names else "")
        names = self._log_names(names, request)
        is_all = query.get("tail") == "all"
        log_query = LogQuery(
            tail=ALL_LINES if is_all else integer(query, "tail", TAIL_DEFAULT, 0, TAIL_MAX),
            follow=flag(query, "follow"),
            since=moment(query, "since"),
            until=moment(query, "until"),
            grep=query.get("grep", ""),
            level=query.get("level", ""),
        )
        LogFilter(log_query)  # raises `UsageError` for a wrong pattern, before the response begins
        # A client that follows expects pauses.
        keepalive = math.inf if log_query.follow else KEEPALIVE_S
        return StreamReply(lambda: open_ndjson(self._commands.logs(names, log_query), keepalive=keepalive))

    async def _clear_logs(self, names: tuple[str, ...], request: Request) -> Response:
        """Remove the log lines of services and instances, which `_logs` names, and return the names of the instances."""
        parse_query(request, repeated="name" if not names else "")
        return _json(ClearReply(tuple(await self._commands.clear_logs(self._log_names(names, request)))))

    def _log_names(self, names: tuple[str, ...], request: Request) -> tuple[str, ...]:
        """Return the names of a request for logs. Raises NotFound for a name that nothing has or had in this run."""
        names = names or repeated_values(request, "name")
        parts = {part.name for part in self._store.snapshot.parts}
        for name in names:
            if name not in parts and not self._commands.has_log(name):
                find(self._store.snapshot, name)
        return names

    async def _open_stream(self, request: Request) -> Response:
        """Return the upgrade to the websocket that sends snapshots and deltas, or an error reply."""
        return self._stream.respond(request)

    # ------------------------------------------------------------ commands

    async def _apply(self, request: Request) -> Response:
        """Read the manifest again, change what differs in the running project, and return the changes."""
        return _json(await self._commands.apply(parse_body(request, ApplyBody).dry_run))

    async def _shutdown(self, request: Request) -> Response:
        """Reply with status 202; after that begin to stop all services and the supervisor."""
        now = parse_body(request, ShutdownBody).now
        # After the reply: the shutdown closes this connection.
        return Reply(202, encode({"ok": True}) + b"\n", after_send=lambda: self._commands.shutdown(now))

    async def _run_command(self, name: str, command: str, request: Request) -> Response:
        """Run a command on a service or an instance, and reply when it is done."""
        await self._service_commands[command](name, request)
        return _json({"ok": True, "revision": self._store.revision})

    async def _run_without_options(
        self, command: Callable[[str], Awaitable[None]], name: str, request: Request
    ) -> None:
        parse_body(request, EmptyBody)
        await command(name)

    async def _kill(self, name: str, request: Request) -> None:
        await self._commands.kill(name, parse_body(request, KillBody).signal)

    async def _scale(self, name: str, request: Request) -> None:
        await self._commands.scale(name, parse_body(request, ScaleBody).replicas)

    async def _maintenance(self, name: str, request: Request) -> None:
        body = parse_body(request, MaintenanceBody)
        await self._commands.maintenance(name, body.on, body.reason)


def _json(value: Any) -> Reply:
    return Reply(200, encode(value) + b"\n")
