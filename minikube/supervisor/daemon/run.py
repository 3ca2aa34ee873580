"""The supervisor's trio run (floor 3): parts, link, services, control API, and the order in which they end."""

import os
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import trio
from msgspec import Struct

import minikube
from minikube.control.auth import ensure_token
from minikube.control.server import serve_control
from minikube.control.state_store import StateStore
from minikube.engine.engine import EngineLeftovers
from minikube.errors import MinikubeError, ResourceExhausted
from minikube.linux import processes as tree
from minikube.linux.cgroup import CONTROLLERS, Groups
from minikube.manifest import HostPort, Manifest
from minikube.model import Instance
from minikube.project import orphans as leftovers
from minikube.project.environment import registry_tls
from minikube.project.ids import is_replica
from minikube.project_dir import SUPERVISOR_FILE, SupervisorRecord, write_supervisor_record
from minikube.sdk.trio import open_registry
from minikube.supervisor.backing.parts import PartSpec
from minikube.supervisor.backing.runner import PartRunner
from minikube.supervisor.backing.services import registry_runner, start_redis, wait_ready_or_stop
from minikube.supervisor.context import RunContext
from minikube.supervisor.daemon import shutdown as endings
from minikube.supervisor.daemon.ipc import LaunchOptions, say
from minikube.supervisor.instance.lifecycle import worst_end
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.reconcile.apply import ManifestReconciler
from minikube.supervisor.reconcile.commands import CommandHandler
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.registry_events import RegistryEvents
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.scheduler import TaskScheduler
from minikube.supervisor.runtime.failures import classify
from minikube.supervisor.runtime.process.process import ProcessTable
from minikube.supervisor.runtime.process.usage import sample

FOLLOWER_S = 3.0
"""How long the front may take until it follows the events."""

BESIDE_AGAIN_S = 5.0
"""How soon what the machine had nothing left for is tried again."""


class LaunchPlan(Struct, frozen=True):
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
    left: EngineLeftovers | None = None
    """What could not be removed: the engine does not answer."""
    notes: tuple[str, ...] = ()
    """What is not as one might expect, for the events."""


def run(plan: LaunchPlan, begun: "list[subprocess.Popen[bytes]]", sock: socket.socket, alive: int) -> int:
    """The exit code: 0 after a stop that was asked for, 1 where something is left at an engine.

    What fails on purpose is raised as it is, not in a group.
    """
    try:
        return trio.run(_main, plan, begun, sock, alive)
    except ExceptionGroup as group:
        error = classify(group)
        if isinstance(error, MinikubeError):
            raise error from group
        raise


async def _main(plan: LaunchPlan, begun: "list[subprocess.Popen[bytes]]", sock: socket.socket, alive: int) -> int:
    manifest = plan.manifest
    limits = {name for spec in manifest.services.values() for name in spec.limits if name in CONTROLLERS}
    household = ProcessTable(Groups(plan.state, limits))
    household.raise_file_limit()
    board = StateStore(manifest.name, version=minikube.__version__, manifest=str(manifest.path))
    site = RunContext(plan.state, plan.options, board, household, str(manifest.registry.listen))
    _tell(plan, board)
    try:
        async with trio.open_nursery() as outer:
            outer.start_soon(_reap, household)
            outer.start_soon(endings.obey_signals, site)
            outer.start_soon(endings.obey_lifeline, site, sock)
            outer.start_soon(endings.watch_guardian, site, alive)
            site.redis_url, parts = manifest.redis.url, []
            if plan.redis is not None:
                parts.append(await start_redis(plan.redis, site, outer, begun.pop(0)))
            try:
                if not site.asked_to_stop.is_set():
                    registry = registry_runner(plan.registry, site)
                    parts.insert(0, registry)
                    outer.start_soon(registry.run, begun.pop())
                    if not manifest.registry.listen.port:
                        await wait_ready_or_stop(site, registry)  # services are told where it listens
                if not site.asked_to_stop.is_set():
                    await _serve(plan, site, registry, sock)
            finally:  # also after a defect of ours: the store writes down what it has
                with trio.CancelScope(shield=True):
                    for part in parts:
                        await part.stop()
            outer.cancel_scope.cancel()
    finally:
        (plan.state / SUPERVISOR_FILE).unlink(missing_ok=True)
        leftovers.forget(plan.state)
        site.logbook.writer.close(5.0)
    return 1 if site.left else 0


def _tell(plan: LaunchPlan, board: StateStore) -> None:
    """What was found and done before there was a board."""
    if plan.ended:
        board.event("leftovers.ended", f"ended {len(plan.ended)} processes that an earlier run left alive", "warning")
    if plan.removed:
        text = f"removed {len(plan.removed)} containers that an earlier run left: {', '.join(plan.removed)}"
        board.event("leftovers.ended", text, "warning")
    if plan.left:
        board.event("containers.left", str(plan.left), "warning")
    for note in plan.notes:
        board.event("supervisor.ports", note, "warning")


def _is_left(project: str, roster: ReplicaSet, found: Instance) -> bool:
    """An earlier run's, of a service or a replica that is not in the manifest any more."""
    return found.uuid not in roster.by_id and is_replica(project, found.name, found.uuid)


async def _serve(plan: LaunchPlan, site: RunContext, registry: PartRunner, sock: socket.socket) -> None:
    """The project's time: from the control API's start to the last service's end.

    The first services start while the registry does: most take as long, and whoever registers tries until it answers.
    """
    board, roster = site.board, ReplicaSet()
    token, settings = ensure_token(plan.state), plan.manifest.registry
    opened = open_registry(site.registry, token=settings.token or None, tls=registry_tls(settings))
    async with opened as client, trio.open_nursery() as nursery:
        hearsay = RegistryEvents(board, roster.by_id)
        link = RegistrySync(client, nursery, hearsay.heard, hearsay.refused, partial(_is_left, site.project, roster))
        async with trio.open_nursery() as services:
            core = Reconciler(site, plan.manifest, roster, link, services)
            hands = CommandHandler(core, services)
            control = HostPort(*await nursery.start(partial(_serve_control, plan, hands, token)))
            core.open()
            hands.applier = ManifestReconciler(core, hands, services)
            services.start_soon(_beside, board, "watching files", partial(_watch, core, hands))
            services.start_soon(_beside, board, "the schedules", TaskScheduler(core).run)
            await wait_ready_or_stop(site, registry)
            services.start_soon(_beside, board, "overseeing the registry", partial(link.oversee, board.event))
            nursery.start_soon(link.run)  # not before: its first tries would be in vain, and its next ones late
            _announce(plan, control, site.registry)
            say(sock, {"ready": {"control": str(control), "registry": site.registry}})
            board.set_phase("running")
            services.start_soon(_beside, board, "measuring", partial(sample, site.household, board))
            if site.options.exit_with:
                services.start_soon(_end_with, core, site.options.exit_with, sock)
            await site.asked_to_stop.wait()
            began = time.monotonic()
            board.event("supervisor.stopping", "stopping everything" + (" at once" if site.at_once.is_set() else ""))
            await core.stop_all()
            board.event("supervisor.stopped", f"all services stopped after {time.monotonic() - began:.1f} s")
            services.cancel_scope.cancel()
        await trio.sleep(0.06)  # one round of the stream: readers see the end before the connection closes
        nursery.cancel_scope.cancel()


async def _serve_control(
    plan: LaunchPlan, hands: CommandHandler, token: str, *, task_status: "trio.TaskStatus[tuple[str, int]]"
) -> None:
    where = plan.control
    await serve_control(hands.board, hands, host=where.host, port=where.port, token=token, task_status=task_status)


def _announce(plan: LaunchPlan, control: HostPort, registry: str) -> None:
    me = os.getpid()
    record = SupervisorRecord(
        pid=me,
        guardian_pid=os.getppid(),
        start_time=tree.start_time(me),
        boot_id=tree.boot_id(),
        control=str(control),
        registry=registry,
        manifest=str(plan.manifest.path),
    )
    write_supervisor_record(plan.state, record)


async def _end_with(core: Reconciler, name: str, sock: socket.socket) -> None:
    """When that service has ended for good, everything does; the front passes its exit code on."""
    ended = await core.wait_ended(name)
    how, code = worst_end(ended)
    core.board.event("supervisor.exit_with", f"{name} ended: {how}", service=name)
    with trio.move_on_after(FOLLOWER_S):  # a short task may end before the front has begun to print events
        await core.board.events_followed.wait()
    say(sock, {"ended": {"service": name, "how": how, "code": code}})
    core.site.shutdown()


async def _watch(core: Reconciler, hands: CommandHandler) -> None:
    """Imports what watching takes (30 ms and some megabytes) once there is something to watch."""
    while True:
        adopted = core.adopted
        if core.options.watch or any(spec.watch for spec in core.specs.values()):
            watcher = await trio.to_thread.run_sync(import_module, "minikube.supervisor.reconcile.watch.watcher")
            await watcher.Watcher(core, hands).run()
        await adopted.wait()


async def _beside(board: StateStore, what: str, run: Callable[[], Awaitable[None]]) -> None:
    """What is no service's life may fail without ending one. Where the machine was short of something it begins anew."""
    told = ""
    while True:
        try:
            await run()
            return
        except Exception as error:
            error = classify(error)
            if not isinstance(error, ResourceExhausted):
                traceback.print_exception(error)
                board.event("supervisor.trouble", f"{what} failed and is off: {error!r} — see supervisor.log", "error")
                return
            if str(error) != told:
                told = str(error)
                board.event("supervisor.trouble", f"{what}: {told}", "warning")
        await trio.sleep(BESIDE_AGAIN_S)


async def _reap(household: ProcessTable) -> None:
    with trio.open_signal_receiver(signal.SIGCHLD) as received:
        async for _ in received:
            household.reap()
