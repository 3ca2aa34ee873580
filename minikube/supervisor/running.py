"""The supervisor's trio run (floor 3): parts, link, services, control API, and the order in which they end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import trio
from msgspec import Struct

import minikube
from minikube.client.endpoint import SUPERVISOR_FILE
from minikube.client.registry import open_registry
from minikube.control.board import Board
from minikube.control.server import serve_control
from minikube.control.token import ensure_token
from minikube.errors import MinikubeError, StartError
from minikube.manifest import HostPort, LogSpec, Manifest
from minikube.supervisor import tree
from minikube.supervisor.apply import Applier
from minikube.supervisor.cgroup import CONTROLLERS, Groups
from minikube.supervisor.core import Supervisor
from minikube.supervisor.engine import Left
from minikube.supervisor.environment import registry_tls
from minikube.supervisor.guardian import LaunchOptions
from minikube.supervisor.lifecycle import worst_end
from minikube.supervisor.link import Link
from minikube.supervisor.main import READY_S, say
from minikube.supervisor.partrun import PartRunner, wait_redis
from minikube.supervisor.parts import PartSpec, settled
from minikube.supervisor.process import Household, Process, understood
from minikube.supervisor.reader import LogBook
from minikube.supervisor.sampler import sample
from minikube.supervisor.timetable import Timetable

LISTENING = "listening on "

FOLLOWER_S = 3.0
"""How long the front may take until it follows the events."""


class Plan(Struct, frozen=True):
    """What was found out before trio came in."""

    manifest: Manifest
    options: LaunchOptions
    state: Path
    redis: PartSpec | None
    registry: PartSpec
    control: HostPort
    ended: list[int]
    """Leftovers of an earlier run that had to be ended."""
    removed: list[str]
    """Containers of an earlier run that had to be removed."""
    left: Left | None = None
    """What could not be removed: the engine does not answer."""
    notes: tuple[str, ...] = ()
    """What is not as one might expect, for the events."""


def run(plan: Plan, begun: "list[subprocess.Popen[bytes]]", sock: socket.socket, alive: int) -> int:
    """The exit code: 0 after a stop that was asked for, 1 where something is left at an engine.

    What fails on purpose is raised as it is, not in a group.
    """
    try:
        return trio.run(_main, plan, begun, sock, alive)
    except ExceptionGroup as group:
        error = understood(group)
        if isinstance(error, MinikubeError):
            raise error from group
        raise


async def _main(plan: Plan, begun: "list[subprocess.Popen[bytes]]", sock: socket.socket, alive: int) -> int:
    manifest = plan.manifest
    limits = {name for spec in manifest.services.values() for name in spec.limits if name in CONTROLLERS}
    household = Household(Groups(plan.state, limits))
    household.raise_file_limit()
    board = Board(manifest.name, version=minikube.__version__, manifest=str(manifest.path))
    logs = LogBook(plan.state / "logs")
    core = Supervisor(manifest, plan.options, plan.state, board, household, logs)
    if plan.ended:
        board.event("leftovers.ended", f"ended {len(plan.ended)} processes that an earlier run left alive", "warning")
    if plan.removed:
        text = f"removed {len(plan.removed)} containers that an earlier run left: {', '.join(plan.removed)}"
        board.event("leftovers.ended", text, "warning")
    if plan.left:
        board.event("containers.left", str(plan.left), "warning")
    for note in plan.notes:
        board.event("supervisor.ports", note, "warning")
    try:
        async with trio.open_nursery() as outer:
            outer.start_soon(_reap, household)
            outer.start_soon(_signals, core)
            outer.start_soon(_lifeline, core, sock)
            outer.start_soon(_guarded, core, alive)
            parts = [await _start_redis(plan, core, outer, begun)]
            if not core.asked_to_stop.is_set():
                registry = _registry_runner(plan, core)
                parts.insert(0, registry)
                outer.start_soon(registry.run, begun.pop())
                if not manifest.registry.listen.port:
                    await _wait_ready(core, registry)  # services are told where it listens
            if not core.asked_to_stop.is_set():
                await _serve(plan, core, registry, sock)
            with trio.CancelScope(shield=True):
                for part in parts:
                    if part is not None:
                        await part.stop()
            outer.cancel_scope.cancel()
    finally:
        (plan.state / SUPERVISOR_FILE).unlink(missing_ok=True)
        (plan.state / "processes.json").unlink(missing_ok=True)
        logs.writer.close(5.0)
    return 1 if core.left else 0


async def _wait_ready(core: Supervisor, part: PartRunner) -> None:
    """Until it answers, or a stop is asked for. Raises `StartError` when it takes too long."""
    with trio.move_on_after(READY_S) as patience:
        async with trio.open_nursery() as waiting:
            waiting.start_soon(_cancel_on_stop, core, waiting.cancel_scope)
            await part.ready.wait()
            waiting.cancel_scope.cancel()
    if patience.cancelled_caught:
        name = part.spec.name
        raise StartError(f"{name}: does not answer after {READY_S:g} s — see .minikube/logs/{name}.log")


async def _serve(plan: Plan, core: Supervisor, registry: PartRunner, sock: socket.socket) -> None:
    """The project's time: from the control API's start to the last service's end.

    The first services start while the registry does: most take as long, and whoever registers tries until it answers.
    """
    manifest, board = plan.manifest, core.board
    token = ensure_token(plan.state)
    settings = manifest.registry
    opened = open_registry(core.registry, token=settings.token or None, tls=registry_tls(settings))
    async with opened as client, trio.open_nursery() as nursery:
        link = Link(client, nursery, core.hearsay.heard, core.hearsay.refused)
        control = plan.control
        host, port = await nursery.start(
            lambda task_status: serve_control(
                board, core, host=control.host, port=control.port, token=token, task_status=task_status
            )
        )
        async with trio.open_nursery() as services:
            await core.run(services, link)
            core.applier = Applier(core, services)
            services.start_soon(_beside, core, "watching files", partial(_watch, core))
            services.start_soon(_beside, core, "the schedules", Timetable(core).run)
            await _wait_ready(core, registry)
            services.start_soon(_beside, core, "overseeing the registry", partial(link.oversee, board.event))
            nursery.start_soon(link.run)  # not before: its first tries would be in vain, and its next ones late
            _announce(plan, host, port, core.registry)
            say(sock, {"ready": {"control": f"{host}:{port}", "registry": core.registry}})
            board.set_phase("running")
            services.start_soon(_beside, core, "measuring", partial(sample, core.household, board))
            if plan.options.exit_with:
                services.start_soon(_end_with, core, plan.options.exit_with, sock)
            await core.asked_to_stop.wait()
            began = time.monotonic()
            board.event("supervisor.stopping", "stopping everything" + (" at once" if core.now else ""))
            await core.stop_all()
            board.event("supervisor.stopped", f"all services stopped after {time.monotonic() - began:.1f} s")
            services.cancel_scope.cancel()
        await trio.sleep(0.06)  # one round of the stream: readers see the end before the connection closes
        nursery.cancel_scope.cancel()


async def _start_redis(
    plan: Plan, core: Supervisor, nursery: trio.Nursery, begun: "list[subprocess.Popen[bytes]]"
) -> PartRunner | None:
    if plan.redis is None:
        core.redis_url = plan.manifest.redis.url
        return None
    core.redis_url = plan.redis.address
    path = unquote(plan.redis.address.removeprefix("unix://"))

    async def wait_ready(process: Process) -> str:
        await wait_redis(path)
        return core.redis_url

    output = core.logbook.open("redis", "redis", LogSpec())
    runner = PartRunner(plan.redis, core.household, core.board, output, wait_ready)
    nursery.start_soon(runner.run, begun.pop(0))
    await _wait_ready(core, runner)
    return runner


def _registry_runner(plan: Plan, core: Supervisor) -> PartRunner:
    output = core.logbook.open("registry", "registry", LogSpec())

    async def wait_ready(process: Process) -> str:
        listening = trio.Event()
        output.expect(LISTENING, listening.set)
        for line in output.last_lines:
            if LISTENING in line:
                listening.set()
        await listening.wait()
        where = next((line for line in reversed(output.last_lines) if LISTENING in line), "")
        core.registry = where.rpartition(LISTENING)[2].split()[0] if where else core.registry
        core.board.set_registry(core.registry)
        runner.spec = settled(runner.spec, core.registry)
        return core.registry

    runner = PartRunner(plan.registry, core.household, core.board, output, wait_ready)
    return runner


def _announce(plan: Plan, host: str, port: int, registry: str) -> None:
    me = os.getpid()
    text = json.dumps(
        {
            "pid": me,
            "guardian_pid": os.getppid(),
            "start_time": tree.start_time(me),
            "boot_id": tree.boot_id(),
            "control": str(HostPort(host, port)),
            "registry": registry,
            "manifest": str(plan.manifest.path),
        }
    )
    fresh = plan.state / f"{SUPERVISOR_FILE}.new"
    fresh.write_text(text)
    os.replace(fresh, plan.state / SUPERVISOR_FILE)


async def _end_with(core: Supervisor, name: str, sock: socket.socket) -> None:
    """When that service has ended for good, everything does; the front passes its exit code on."""
    ended = await core.wait_ended(name)
    how, code = worst_end(ended)
    core.board.event("supervisor.exit_with", f"{name} ended: {how}", service=name)
    with trio.move_on_after(FOLLOWER_S):  # a short task may end before the front has begun to print events
        await core.board.followed.wait()
    say(sock, {"ended": {"service": name, "how": how, "code": code}})
    core.shutdown()


async def _watch(core: Supervisor) -> None:
    """Imports what watching takes (30 ms and some megabytes) once there is something to watch."""
    while True:
        adopted = core.adopted
        if core.options.watch or any(spec.watch for spec in core.specs.values()):
            watcher = await trio.to_thread.run_sync(import_module, "minikube.supervisor.watcher")
            await watcher.Watcher(core).run()
        await adopted.wait()


async def _beside(core: Supervisor, what: str, run: Callable[[], Awaitable[None]]) -> None:
    """What is no service's life may fail without ending one."""
    try:
        await run()
    except Exception as error:
        traceback.print_exc()
        core.board.event("supervisor.trouble", f"{what} failed and is off: {error!r} — see supervisor.log", "error")


async def _cancel_on_stop(core: Supervisor, scope: trio.CancelScope) -> None:
    await core.asked_to_stop.wait()
    scope.cancel()


async def _signals(core: Supervisor) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            core.shutdown(now=core.asked_to_stop.is_set())


async def _reap(household: Household) -> None:
    with trio.open_signal_receiver(signal.SIGCHLD) as received:
        async for _ in received:
            household.reap()


async def _lifeline(core: Supervisor, sock: socket.socket) -> None:
    """Obeys the front. Its end without a `detach` means that it was killed: nobody watches, so everything ends at once."""
    sock.setblocking(False)
    buffer, detached = b"", False
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            data = sock.recv(4096)
        except BlockingIOError:
            continue
        except OSError:
            data = b""
        if not data:
            if not detached:
                core.shutdown(now=True)
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            if line == b"detach":
                detached = True
            elif line in (b"stop", b"now"):
                core.shutdown(now=line == b"now")


async def _guarded(core: Supervisor, alive: int) -> None:
    """The guardian's death: what we start would have no heir any more, so everything is stopped, and why is kept."""
    await trio.lowlevel.wait_readable(alive)
    text = "the guardian was killed: nothing would end what runs if the supervisor were killed as well — stopping everything"
    print(f"minikube: {text}", file=sys.stderr, flush=True)
    core.board.event("guardian.gone", text, "error")
    core.shutdown()
