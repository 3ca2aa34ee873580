"""What both services are made of: settings from the environment, serving, staying registered, stopping gently.

TERM or Ctrl-C: deregister first, so that nobody is sent here any more, then finish what is under way (at most
`DRAIN_S`), write what is left, then exit 0. A second signal exits at once.

Environment: PORT, HOST, SERVICE_NAME, REDIS_URL, MINIKUBE_REGISTRY (read by the SDK), and ADVERTISE_HOST, the address
that others reach this one at where it is not the one it listens on.
"""

import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import trio

import minikube
from services.messages import Routes
from services.web import Limits, Server

DRAIN_S = 7.5
"""Longer than the longest request, a purchase. With a second to deregister before it and one to write after it, all is
over before the supervisor's KILL, 10 s after TERM."""

Task = Callable[..., Awaitable[Any]]
"""Started with `nursery.start` and cancelled at the end."""


class BadSetting(ValueError):
    """The environment is wrong: one line that says what to set."""


class CannotListen(Exception):
    """The port is taken, or the address is not ours."""


class Settings(NamedTuple):
    """Where a service listens, and where it is found."""

    name: str
    host: str
    port: int
    advertise: str | None
    """None: the SDK finds it, from HOST or, where that is a wildcard, from its connection to the registry."""
    redis_url: str

    @classmethod
    def from_environ(cls, name: str, port: int, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Defaults are those of the sample manifest. BadSetting."""
        name = environ.get("SERVICE_NAME") or name
        word = environ.get("PORT") or str(port)
        if not (word.isascii() and word.isdigit() and int(word) <= 65535):
            raise BadSetting(f"{name}: PORT must be 0 to 65535, not {word!r}")
        host = environ.get("HOST") or "127.0.0.1"
        advertise = environ.get("ADVERTISE_HOST") or None
        redis_url = environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0"
        return cls(name, host, int(word), advertise, redis_url)


class Service(NamedTuple):
    """One service: its settings, its routes, and what runs beside them."""

    settings: Settings
    routes: Routes
    tasks: Sequence[Task] = ()
    limits: Limits = Limits()
    finish: Callable[[], Awaitable[str]] | None = None
    """Called last, while the tasks still run; bounds itself. What it returns is logged, if anything."""


def run(build: Callable[[], "Service"]) -> int:
    """Build a service and serve until a signal; the process's exit code."""
    try:
        service = build()
    except BadSetting as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    code = 0
    try:
        trio.run(serve, service)
    except* CannotListen as errors:
        print(f"{service.settings.name}: {errors.exceptions[0]}", file=sys.stderr, flush=True)
        code = 1
    return code


async def serve(service: Service) -> None:
    """Everything of one service in one nursery; returns when it was told to stop and has drained. CannotListen."""
    settings = service.settings
    server = Server(service.routes, service.limits, log=lambda line: say(settings.name, line))
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            for task in service.tasks:
                await nursery.start(task)
            try:
                bound = await nursery.start(server.serve, settings.host, settings.port)
            except OSError as error:
                hint = "set PORT or stop what uses it" if error.errno == errno.EADDRINUSE else "set HOST and PORT"
                place = f"{settings.host}:{settings.port}"
                raise CannotListen(f"cannot listen on {place}: {error.strerror} — {hint}") from error
            host, port = bound[0]
            say(settings.name, f"listening on {host}:{port}")
            stopping = trio.Event()
            nursery.start_soon(_heed, signals, stopping, nursery.cancel_scope)
            async with minikube.registered(settings.name, port, host=settings.advertise, health="/health"):
                await stopping.wait()
                say(settings.name, "stopping")
            if not await server.drain(DRAIN_S):
                say(settings.name, f"requests were still running after {DRAIN_S:g} s")
            if service.finish and (words := await service.finish()):
                say(settings.name, words)
            nursery.cancel_scope.cancel()


async def _heed(signals: Any, stopping: trio.Event, scope: trio.CancelScope) -> None:
    async for _signal in signals:
        if stopping.is_set():
            scope.cancel()
        stopping.set()


def say(name: str, line: str) -> None:
    """One line of log; the supervisor captures it."""
    print(f"{name}: {line}", flush=True)
