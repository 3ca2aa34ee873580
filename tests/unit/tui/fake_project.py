"""A project without a supervisor: snapshots made by hand, and a connection that the test controls."""

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
from tui.connection.interface import Command, PostMessage
from tui.connection.messages import CommandFinished, ConnectionChanged, LogLinesReceived, SnapshotReceived

SMALL = (80, 24)
LARGE = (160, 50)


class FakeConnection:
    """Records the commands and followed logs; the other methods post messages as a connection's thread would."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.followed: list[tuple[int, tuple[str, ...] | None]] = []
        self._post: PostMessage = lambda message: None
        self._stopped = threading.Event()
        self.ready = threading.Event()

    def run(self, post: PostMessage) -> None:
        self._post = post
        self.ready.set()
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    def send_command(self, command: Command) -> None:
        self.commands.append(command)

    def follow_logs(self, request: int, names: Sequence[str] | None) -> None:
        self.followed.append((request, None if names is None else tuple(names)))

    def post(self, *messages: Message) -> None:
        """Post messages to the app, once it runs."""
        assert self.ready.wait(5)
        for message in messages:
            self._post(message)

    def connect(self, snapshot: Snapshot) -> None:
        """Post that the connection is live, and its first snapshot."""
        self.post(ConnectionChanged("live"), SnapshotReceived(snapshot))

    def finish(self, command: Command, error: str = "") -> None:
        """Post that a command was answered."""
        self.post(CommandFinished(command, error))

    def send_logs(self, *texts: str, instance: str = "product", restarted: bool = False) -> None:
        """Post lines for the log that is followed."""
        request = self.followed[-1][0]
        lines = [LogLine(time.time(), "product", instance, "stdout", text) for text in texts]
        self.post(LogLinesReceived(request, lines, restarted=restarted))


def instance(name: str, service: str = "", **fields: object) -> InstanceView:
    """Return a running, passing instance, with other values for `fields`."""
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
    """Return a snapshot with product, three workers (one fails), order, gateway (pending) and seed (exited)."""
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


def shop_with_instances(count: int, revision: int = 1) -> Snapshot:
    """Return the shop with `count` more instances of a service `crowd`; their last output says the revision."""
    more = [
        instance(
            f"crowd-{n}",
            "crowd",
            address=f"127.0.0.1:{20000 + n}",
            output=f"revision {revision}",
            id=f"{n:08x}",
        )
        for n in range(count)
    ]
    return shop(*more, revision=revision)


Steps = Callable[[Dashboard, "Pilot[str]", FakeConnection], Awaitable[None]]


def run_dashboard(
    steps: Steps, *, size: tuple[int, int] = SMALL, snapshot: Snapshot | None = None, owner: bool = False
) -> str:
    """Run the dashboard without a terminal, run `steps` in it, and return the app's result ("" for none)."""
    connection = FakeConnection()
    app = Dashboard(connection, owner=owner)

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await asyncio.to_thread(connection.ready.wait, 5)
            if snapshot is not None:
                connection.connect(snapshot)
                await pilot.pause()
            await steps(app, pilot, connection)

    asyncio.run(run())
    return app.return_value or ""


def screen_text(app: Dashboard) -> list[str]:
    """Return the lines on the screen."""
    width, height = app.size
    lines = app.screen._compositor.render_strips(app.size) if height and width else []
    return ["".join(segment.text for segment in strip) for strip in lines]
