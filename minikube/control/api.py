"""The control API's requests (floor 3), as docs/cli.md lists them, over any `StateStore` and `ProjectCommands`.

It decides what a request means and what its answer is; reading and writing are `minikube.net.http_server`'s. What is shown of
the project is the board's one snapshot, to the stream, the status and who asks for one service alike. What is done is the
controls', and so is what no snapshot holds: lines of logs, and for Prometheus the registry's entries and counters. It refuses
unknown paths, methods, query parameters and body fields, each with a JSON error that names them.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
import trio

from minikube.control.auth import refuse
from minikube.control.client.messages import EventsReply, ServiceReply, status_of
from minikube.control.client.snapshot import dependents
from minikube.control.encoding import EncodeCache, encode
from minikube.control.http_sd import target_groups
from minikube.control.interface import ProjectCommands
from minikube.control.metrics import Scrape, exposition
from minikube.control.ndjson import ALIVE_S, open_batches, open_events
from minikube.control.state_store import StateStore
from minikube.control.stream import Stream
from minikube.durations import parse_moment
from minikube.errors import MinikubeError, NotFound, UsageError
from minikube.logs.filter import LogFilter
from minikube.logs.query import ALL_LINES, TAIL_DEFAULT, TAIL_MAX, LogQuery
from minikube.model import InstanceView, ServiceView, Snapshot
from minikube.net.http_server import Answer, Reply, Request, StreamReply, error_reply
from minikube.text import printable

log = logging.getLogger(__name__)

WAIT_MAX_S = 60.0
EVENTS_MAX = 1_000
SERVICE_EVENTS = 50

Body = TypeVar("Body")


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Kill(msgspec.Struct, forbid_unknown_fields=True):
    signal: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9+]{1,12}\Z")] = "KILL"


class _Scale(msgspec.Struct, forbid_unknown_fields=True):
    replicas: Annotated[int, msgspec.Meta(ge=0, le=1_000)]


class _Maintenance(msgspec.Struct, forbid_unknown_fields=True):
    on: bool = True
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class _Apply(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False


class _Shutdown(msgspec.Struct, forbid_unknown_fields=True):
    now: bool = False


class Api:
    """Answers requests. `hosts` are the names it may be addressed by, `token` opens it."""

    def __init__(self, board: StateStore, controls: ProjectCommands, *, token: str, hosts: frozenset[str]) -> None:
        self._board = board
        self._controls = controls
        self._token = token
        self._hosts = hosts
        self._stream = Stream(board)
        self._scrapes = trio.CapacityLimiter(1)
        self._encode_once = EncodeCache(lambda value: encode(value) + b"\n", keep=1)
        self._pages: dict[str, dict[str, Callable[[Request], Awaitable[Answer]]]] = {
            "/health": {"GET": self._health},
            "/metrics": {"GET": self._metrics},
            "/v1/status": {"GET": self._status},
            "/v1/sd": {"GET": self._sd},
            "/v1/events": {"GET": self._events},
            "/v1/logs": {"GET": self._all_logs},
            "/v1/stream": {"GET": self._open_stream},
            "/v1/apply": {"POST": self._apply},
            "/v1/shutdown": {"POST": self._shutdown},
        }
        self._acts: dict[str, Callable[[str, Request], Awaitable[None]]] = {
            "start": lambda name, request: self._plainly(controls.start, name, request),
            "stop": lambda name, request: self._plainly(controls.stop, name, request),
            "restart": lambda name, request: self._plainly(controls.restart, name, request),
            "kill": self._kill,
            "scale": self._scale,
            "maintenance": self._maintenance,
        }

    async def handle(self, request: Request) -> Answer:
        """The answer to any request, or an error for `explain`."""
        refusal = refuse(request, self._hosts, self._token)
        if refusal is not None:
            return refusal
        methods = self._route(request.path)
        if methods is None:
            return error_reply(404, f"there is no {_shown(request.path)} here")
        page = methods.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            message = f"{_shown(request.path)} takes {allowed}, not {_shown(request.method)}"
            return error_reply(405, message, (("Allow", allowed),))
        return await page(request)

    def explain(self, error: Exception) -> Reply:
        """The reply for an error: the family's are told as they are, anything else is logged and told as ours."""
        if isinstance(error, MinikubeError):
            return Reply(status_of(error), encode({"error": str(error)}) + b"\n")
        log.error("a request failed", exc_info=error)
        return error_reply(500, "internal error — see .minikube/logs/supervisor.log")

    def _route(self, path: str) -> dict[str, Callable[[Request], Awaitable[Answer]]] | None:
        page = self._pages.get(path)
        if page is not None:
            return page
        match path.split("/"):
            case ["", "v1", "services", name] if name:
                return {"GET": lambda request: self._service(name, request)}
            case ["", "v1", "services", name, "logs"] if name:
                return {"GET": lambda request: self._logs((name,), request)}
            case ["", "v1", "services", name, verb] if name and verb in self._acts:
                return {"POST": lambda request: self._act(name, verb, request)}
        return None

    # ------------------------------------------------------------ looking

    async def _health(self, request: Request) -> Answer:
        return _json({"status": "ok"})

    async def _metrics(self, request: Request) -> Answer:
        _query(request)
        figures = await self._controls.figures()
        board, tally = self._board, self._board.tally
        scrape = Scrape(board.snapshot, tally.view, tally.probes.view, figures, self._stream.readers)
        body, content_type = await trio.to_thread.run_sync(
            exposition, scrape, request.header("accept"), limiter=self._scrapes
        )
        return Reply(200, body, content_type)

    async def _sd(self, request: Request) -> Answer:
        query = _query(request, "service", "tag")
        return _json(target_groups(self._controls.registered(), query.get("service", ""), query.get("tag", "")))

    async def _status(self, request: Request) -> Answer:
        query = _query(request, "after", "wait")
        after, wait = _integer(query, "after", -1), _seconds(query, "wait")
        if wait:
            with trio.move_on_after(wait):
                await self._board.wait_past(after)
        return Reply(200, self._encode_once(self._board.snapshot))

    async def _events(self, request: Request) -> Answer:
        query = _query(request, "since", "wait", "follow")
        since, wait = _integer(query, "since", 0), _seconds(query, "wait")
        board = self._board
        if _flag(query, "follow"):
            return StreamReply(lambda: open_batches(open_events(board, since)))
        if wait:
            with trio.move_on_after(wait):
                while not board.events_since(since, 1):
                    await board.wait_past(board.revision)
        events = board.events_since(since, EVENTS_MAX)
        missed = bool(events) and events[0].number > since + 1
        return _json(EventsReply(tuple(events), events[-1].number if events else since, missed))

    async def _service(self, name: str, request: Request) -> Answer:
        _query(request)
        reply = describe(self._board, name)
        settings = dict(self._controls.settings(reply.service.name)) if reply.service else {}
        return _json(msgspec.structs.replace(reply, settings=settings))

    async def _logs(self, names: tuple[str, ...], request: Request) -> Answer:
        known = ("tail", "follow", "since", "until", "grep", "level")
        query = _query(request, *known, repeated="name" if not names else "")
        names = names or tuple(value for key, value in parse_qsl(request.query) if key == "name")
        parts = {part.name for part in self._board.snapshot.parts}
        for name in names:
            if name not in parts:
                _find(self._board.snapshot, name)
        all_lines = query.get("tail") == "all"
        wanted = LogQuery(
            tail=ALL_LINES if all_lines else _integer(query, "tail", TAIL_DEFAULT, 0, TAIL_MAX),
            follow=_flag(query, "follow"),
            since=_moment(query, "since"),
            until=_moment(query, "until"),
            grep=query.get("grep", ""),
            level=query.get("level", ""),
        )
        LogFilter(wanted)  # a wrong pattern is told before the answer begins
        alive = math.inf if wanted.follow else ALIVE_S  # who follows expects silence
        return StreamReply(lambda: open_batches(self._controls.logs(names, wanted), alive=alive))

    async def _all_logs(self, request: Request) -> Answer:
        return await self._logs((), request)

    async def _open_stream(self, request: Request) -> Answer:
        return self._stream.answer(request)

    # ------------------------------------------------------------ acting

    async def _apply(self, request: Request) -> Answer:
        return _json(await self._controls.apply(_body(request, _Apply).dry_run))

    async def _shutdown(self, request: Request) -> Answer:
        now = _body(request, _Shutdown).now
        return Reply(202, encode({"ok": True}) + b"\n", then=lambda: self._controls.shutdown(now))

    async def _act(self, name: str, verb: str, request: Request) -> Answer:
        await self._acts[verb](name, request)
        return _json({"ok": True, "revision": self._board.revision})

    async def _plainly(self, act: Callable[[str], Awaitable[None]], name: str, request: Request) -> None:
        _body(request, _Nothing)
        await act(name)

    async def _kill(self, name: str, request: Request) -> None:
        await self._controls.kill(name, _body(request, _Kill).signal)

    async def _scale(self, name: str, request: Request) -> None:
        await self._controls.scale(name, _body(request, _Scale).replicas)

    async def _maintenance(self, name: str, request: Request) -> None:
        body = _body(request, _Maintenance)
        await self._controls.maintenance(name, body.on, body.reason)


def describe(board: StateStore, name: str) -> ServiceReply:
    """A service with its instances, or one instance by its name or id. Raises `NotFound`.

    Its events are the latest of all that are known, not of the few that everybody is shown: a noisy neighbour takes
    nothing from a quiet service.
    """
    snapshot = board.snapshot
    service, instances = _find(snapshot, name)
    known = {instance.id for instance in instances}
    usage = tuple(usage for usage in snapshot.usage if usage.id in known)
    ids = known | {instance.name for instance in instances}
    whole = service is not None and service.name == name
    concerned = (
        event
        for event in reversed(board.events_since(0))
        if (event.service == name if whole else event.instance in ids)
    )
    events = tuple(islice(concerned, SERVICE_EVENTS))[::-1]
    needed_by = tuple(dependents(snapshot.services, service.name)) if service is not None else ()
    return ServiceReply(snapshot.revision, service, instances, usage, events, needed_by)


def _find(snapshot: Snapshot, name: str) -> tuple[ServiceView | None, tuple[InstanceView, ...]]:
    """The service of this name and its instances, or the instances of this name or id and their service. Raises
    `NotFound`."""
    service = next((service for service in snapshot.services if service.name == name), None)
    if service is not None:
        return service, tuple(instance for instance in snapshot.instances if instance.service == name)
    instances = tuple(instance for instance in snapshot.instances if name in (instance.name, instance.id))
    if not instances:
        raise NotFound(f"{_shown(name)}: no such service or instance")
    owners = {instance.service for instance in instances}
    return next((service for service in snapshot.services if service.name in owners), None), instances


def _json(value: Any) -> Reply:
    return Reply(200, encode(value) + b"\n")


def _body(request: Request, shape: type[Body]) -> Body:
    try:
        return msgspec.json.decode(request.body or b"{}", type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body is wrong: {printable(str(error))}") from None


def _query(request: Request, *known: str, repeated: str = "") -> dict[str, str]:
    """The query's parameters. Unknown ones and all but `repeated` given twice raise `UsageError`."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True, errors="replace"):
        if name == repeated and repeated:
            continue
        if name not in known:
            raise UsageError(f"there is no parameter {_shown(name)} here: {', '.join(known) or 'it takes none'}")
        if name in values:
            raise UsageError(f"the parameter {name} is given twice")
        values[name] = value
    return values


def _integer(query: dict[str, str], name: str, default: int, least: int = -1, most: int = 2**53) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.removeprefix("-").isdecimal()) or len(text) > 16 or not least <= int(text) <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {_shown(text)}")
    return int(text)


def _seconds(query: dict[str, str], name: str) -> float:
    text = query.get(name, "0")
    if not (text.isascii() and text.replace(".", "", 1).isdecimal()) or float(text) > WAIT_MAX_S:
        raise UsageError(f"{name} must be seconds from 0 to {WAIT_MAX_S:g}, not {_shown(text)}")
    return float(text)


def _moment(query: dict[str, str], name: str) -> float:
    """Unix seconds, 0 where it is not given."""
    try:
        return parse_moment(query[name], time.time()) if query.get(name) else 0.0
    except ValueError as error:
        raise UsageError(f"{name}: {error}, not {_shown(query[name])}") from None


def _flag(query: dict[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in ("", "1", "true", "yes", "0", "false", "no"):
        raise UsageError(f"{name} must be true or false, not {_shown(text)}")
    return text in ("", "1", "true", "yes")


def _shown(text: str) -> str:
    """What a caller sent, fit for a message."""
    return printable(text if len(text) <= 80 else text[:79] + "…")
