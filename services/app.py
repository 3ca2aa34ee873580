"""The code that both services share: settings from the environment, registration, and the graceful stop.

TERM or Ctrl-C: deregister first, so that no new request comes; finish the open requests within `DRAIN_S`; exit with 0. A
second signal exits at once.
"""

import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

import minikube
from services.store import Store
from services.web import Reply, Request, Routes, Server

DRAIN_S = 7.5
"""Longer than a purchase; with 1 s to deregister before it, shorter than the 10 s until the supervisor's KILL."""

Task = Callable[[], Awaitable[None]]  # runs beside the requests until it is cancelled


def run(name: str, port: int, build: Callable[[Store], tuple[Routes, list[Task]]]) -> None:
    """Run a service until a signal stops it. `build` returns its routes and background tasks.

    `name` and `port` are used if the environment has no SERVICE_NAME and PORT.
    """
    name, word = os.environ.get("SERVICE_NAME") or name, os.environ.get("PORT") or str(port)
    if not (word.isascii() and word.isdigit() and int(word) <= 65535):
        print(f"{name}: PORT must be 0 to 65535, not {word!r}", file=sys.stderr)
        sys.exit(2)
    store = Store(os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0")
    routes, tasks = build(store)

    async def health(_request: Request) -> Reply:
        # 200 without Redis, too: restarting this process would not bring it back.
        return 200, {"status": "ok", "store": store.error or "ok"}

    routes = {**routes, "/health": {"GET": health, "HEAD": health}}
    try:
        trio.run(serve, name, os.environ.get("HOST") or "127.0.0.1", int(word), routes, [store.run, *tasks])
    except* minikube.UsageError as group:  # such as a wrong MINIKUBE_REGISTRY, which several tasks read
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)


async def serve(name: str, host: str, port: int, routes: Routes, tasks: list[Task]) -> None:
    """Serve `routes` and run `tasks`, registered as `name`. After a signal deregister, finish the open requests, and return."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        hint = "set PORT or stop what uses it" if error.errno == errno.EADDRINUSE else "set HOST and PORT"
        sys.exit(f"{name}: cannot listen on {host}:{port}: {error.strerror} — {hint}")
    server, port = Server(routes), listeners[0].socket.getsockname()[1]
    advertise = os.environ.get("ADVERTISE_HOST") or None  # the address for others, where HOST is not
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as background:
            for task in tasks:
                background.start_soon(task)
            async with trio.open_nursery() as serving:
                serving.start_soon(server.run, listeners)
                print(f"{name}: listening on {host}:{port}", flush=True)
                async with minikube.registered(name, port, host=advertise, health="/health"):
                    await anext(signals)
                    print(f"{name}: stopping", flush=True)
                    background.start_soon(_cancel_by_signal, signals, background.cancel_scope)
                server.stop(DRAIN_S)
            background.cancel_scope.cancel()


async def _cancel_by_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()
