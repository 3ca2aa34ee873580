"""A shop that needs no supervisor: snapshots by hand, and a feed that a test moves. No tests in here."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from textual.message import Message
from textual.pilot import Pilot

from minikube.model import (
    CheckState,
    Event,
    InstanceView,
    LogLine,
    PartView,
    ProcessState,
    ServiceView,
    Snapshot,
    Usage,
)
from tui.app import Dashboard
from tui.feed import Act, ActDone, Linked, LogBatch, Post, Updated

SMALL = (80, 24)
LARGE = (160, 50)


class FakeFeed:
    """Remembers what it was asked; `post` puts messages into the app as the thread would."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.followed: list[tuple[int, tuple[str, ...] | None]] = []
        self.posted: Post = lambda message: None
        self._stopped = threading.Event()
        self.ready = threading.Event()

    def run(self, post: Post) -> None:
        self.posted = post
        self.ready.set()
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    def act(self, act: Act) -> None:
        self.acts.append(act)

    def follow(self, ticket: int, names: Sequence[str] | None) -> None:
        self.followed.append((ticket, None if names is None else tuple(names)))

    def post(self, *messages: Message) -> None:
        assert self.ready.wait(5)
        for message in messages:
            self.posted(message)

    def live(self, snapshot: Snapshot) -> None:
        self.post(Linked("live"), Updated(snapshot))

    def done(self, act: Act, error: str = "") -> None:
        self.post(ActDone(act, error))

    def logs(self, *lines: str, instance: str = "product", restarted: bool = False) -> None:
        ticket = self.followed[-1][0]
        made = [LogLine(time.time(), "product", instance, "stdout", line) for line in lines]
        self.post(LogBatch(ticket, made, restarted=restarted))


def instance(name: str, service: str = "", **fields: object) -> InstanceView:
    """A running, passing instance, but for `fields`."""
    service = service or name
    base = InstanceView(
        id=f"{abs(hash(name)) % 0xFFFFFFFF:08x}",
        service=service,
        name=name,
        state=ProcessState.RUNNING,
        check=CheckState.PASSING,
        output='{"status":"ok"}',
        checked=time.time() - 2,
        check_since=time.time() - 190,
        address="127.0.0.1:7070",
        health="http /health",
        pid=4411,
        started=time.time() - 192,
        since=time.time() - 192,
    )
    return msgspec.structs.replace(base, **fields)


def shop(*extra: InstanceView, events: tuple[Event, ...] = (), started: float = 0.0, revision: int = 1) -> Snapshot:
    """product, three workers, order, gateway, and something stopped."""
    now = time.time()
    instances = (
        instance("product", pid=4411),
        instance("worker-1", "worker", address="127.0.0.1:40211", pid=4420),
        instance("worker-2", "worker", address="127.0.0.1:40212", pid=4421, restarts=2),
        instance(
            "worker-3",
            "worker",
            state=ProcessState.BACKOFF,
            check=CheckState.CRITICAL,
            address="127.0.0.1:40213",
            pid=0,
            restarts=4,
            exit="exit 1",
            reason="exited with 1 after 0.4s",
            next_try=now + 8,
            output="connection refused",
            last_lines=("Traceback (most recent call last):", "KeyError: 'REDIS_URL'"),
        ),
        instance("order", address="127.0.0.1:6060", pid=4431),
        instance(
            "gateway",
            state=ProcessState.PENDING,
            check=None,
            pid=0,
            address="",
            started=0.0,
            checked=0.0,
            output="",
            reason="waiting for worker to be healthy",
        ),
        instance(
            "seed", state=ProcessState.EXITED, check=None, pid=0, address="", exit="exit 0", checked=0.0, output=""
        ),
        *extra,
    )
    return Snapshot(
        project="shop",
        revision=revision,
        time=now,
        started=started or now - 200,
        version="0.1.0",
        pid=4400,
        parts=(
            PartView("redis", ProcessState.RUNNING, address="redis.sock", pid=4401),
            PartView("registry", ProcessState.RUNNING, address="127.0.0.1:5555", pid=4402),
        ),
        services=(
            ServiceView("product", command="python -m services.product", register="self"),
            ServiceView("worker", command="python -m worker", replicas=3),
            ServiceView(
                "order", command="python -m services.order", register="self", depends_on={"product": "healthy"}
            ),
            ServiceView("gateway", command="python -m gateway", depends_on={"order": "healthy", "worker": "healthy"}),
            ServiceView("seed", command="python -m seed", register="none"),
        ),
        instances=instances,
        usage=tuple(Usage(one.id, 3.5 + n, (24 + n) << 20) for n, one in enumerate(instances) if one.pid),
        events=events
        or (
            Event(1, now - 190, "instance.started", "product started, pid 4411", service="product", instance="product"),
            Event(2, now - 188, "check.passing", "product passes: 200 OK", service="product", instance="product"),
            Event(
                3, now - 20, "instance.exited", "worker-3 exited with 1", "error", service="worker", instance="worker-3"
            ),
            Event(4, now - 19, "check.critical", "worker-3 is critical", "warning", "worker", "worker-3"),
        ),
        registry="127.0.0.1:5555",
    )


def crowd(count: int, revision: int = 1) -> Snapshot:
    """A shop with `count` more instances of one service, whose last outputs tell the revision."""
    more = [
        instance(f"crowd-{n}", "crowd", address=f"127.0.0.1:{20000 + n}", output=f"revision {revision}", id=f"{n:08x}")
        for n in range(count)
    ]
    return shop(*more, revision=revision)


Play = Callable[[Dashboard, "Pilot[str]", FakeFeed], Awaitable[None]]


def play(scene: Play, *, size: tuple[int, int] = SMALL, snapshot: Snapshot | None = None, owner: bool = False) -> str:
    """Run the dashboard headless on asyncio, let `scene` happen, and give back the app's answer ("" for none)."""
    feed = FakeFeed()
    app = Dashboard(feed, owner=owner)

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await asyncio.to_thread(feed.ready.wait, 5)
            if snapshot is not None:
                feed.live(snapshot)
                await pilot.pause()
            await scene(app, pilot, feed)

    asyncio.run(run())
    return app.return_value or ""


def screen_text(app: Dashboard) -> list[str]:
    """What the terminal shows, line by line."""
    width, height = app.size
    lines = app.screen._compositor.render_strips(app.size) if height and width else []
    return ["".join(segment.text for segment in strip) for strip in lines]
