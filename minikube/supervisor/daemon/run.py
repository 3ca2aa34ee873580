"""The supervisor's trio run: start everything, wait for a request to stop, stop everything.

    Redis ─► registry ─► control API ─► reconciler (the services) ─► … stop … ─► services ─► control API ─► registry ─► Redis

It refuses to decide anything about services: `reconcile` does.
"""

import gc
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import trio

import minikube
from minikube.clock import clock_shift
from minikube.control.server import serve_control
from minikube.control.state_store import StateStore
from minikube.durations import format_duration
from minikube.errors import MinikubeError, ResourceExhausted
from minikube.linux import processes
from minikube.linux.cgroup import CONTROLLERS, ProjectGroups
from minikube.manifest import HostPort, Manifest, ServiceSpec
from minikube.model import Instance
from minikube.project import orphans
from minikube.project.environment import registry_tls
from minikube.project.ids import ReplicaIds
from minikube.project_dir import SUPERVISOR_LOG_NAME, SupervisorRecord, origin, record_run_end
from minikube.sdk.trio import open_registry
from minikube.supervisor.backing.service import BackingService
from minikube.supervisor.backing.spec import BackingSpec, backing_command
from minikube.supervisor.backing.startup import registry_service, start_redis, wait_ready_or_stop
from minikube.supervisor.context import RunContext
from minikube.supervisor.daemon import shutdown
from minikube.supervisor.daemon.ipc import send_message
from minikube.supervisor.daemon.launch_plan import LaunchPlan
from minikube.supervisor.daemon.project_files import ProjectFiles
from minikube.supervisor.daemon.run_server import keep_project_files
from minikube.supervisor.readiness.registry_monitor import RegistryHealth, RegistryMonitor
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.readiness.reservations import Reservations, make_reservations
from minikube.supervisor.reconcile.actions import ServiceActions
from minikube.supervisor.reconcile.apply.manifest_reconciler import ManifestReconciler
from minikube.supervisor.reconcile.commands import CommandHandler
from minikube.supervisor.reconcile.host_services import find_host_services
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.registry_events import RegistryEvents
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.reconcile.rollout.rollout import Rollouts
from minikube.supervisor.reconcile.runtimes import Runtimes
from minikube.supervisor.reconcile.schedule.scheduler import TaskScheduler
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.failures import classify
from minikube.supervisor.runtime.process.fork_client import ForkServer, ProcessStart
from minikube.supervisor.runtime.process.process_table import ProcessTable
from minikube.supervisor.runtime.process.usage import sample_usage

logger = logging.getLogger(__name__)

FOLLOWER_TIMEOUT_S = 3.0
"""How long a service that ends the project waits until `up` follows the events, so that `up` prints its last lines."""

CLOCK_POLL_S = 1.0
"""How often the wall clock is compared with one that is never set."""

MAX_REMOVED_SERVICES = 100
"""How many names that the manifest does not have are looked at: earlier runs may have left entries of removed services."""

TASK_RETRY_S = 5.0
"""The delay before a background task is started again that failed because of a shortage of the machine."""

LAST_DELTA_S = 0.06
"""A little more than one interval of the stream, so that its readers see the end before the connection closes."""

LOG_CLOSE_TIMEOUT_S = 5.0


Started = list[tuple[BackingSpec, ProcessStart]]
"""Backing services whose processes were requested before trio ran."""


def run_supervisor(
    plan: LaunchPlan, fork_server: ForkServer, started: Started, sock: socket.socket, guardian_pipe: int
) -> int:
    """Run the project until it is stopped; return the exit code: 0, that of a service that ended the project, or 1 where an
    engine still has containers of it.

    `fork_server` creates the processes. `started` are those of the embedded Redis (if the plan has one) and of the registry,
    in this order. `sock` is the connection to `up`, `guardian_pipe` is readable once the guardian is dead. Raises
    `MinikubeError` without the exception group of a nursery.
    """
    gc.freeze()
    gc.enable()
    try:
        return trio.run(_main, plan, fork_server, started, sock, guardian_pipe)
    except ExceptionGroup as group:
        error = classify(group)
        if isinstance(error, MinikubeError):
            raise error from group
        raise


async def _main(
    plan: LaunchPlan, fork_server: ForkServer, started: Started, sock: socket.socket, guardian_pipe: int
) -> int:
    manifest = plan.manifest
    logger.info("started as pid %d for %s", os.getpid(), manifest.path)
    limits = {name for spec in manifest.services.values() for name in spec.limits if name in CONTROLLERS}
    process_table = ProcessTable(ProjectGroups(plan.project_dir, limits), fork_server)
    process_table.raise_file_limit()
    # Before the first `reap`, which would take the exit of a process that the table does not know.
    backing_processes = [await process_table.adopt(start, backing_command(spec)) for spec, start in started]
    store = StateStore(manifest.name, version=minikube.__version__, manifest=str(manifest.path))
    context = RunContext(plan.project_dir, plan.options, store, process_table, plan.registry.address)
    context.registry_secret = plan.registry_secret
    _report_cleanup(plan, store)
    backing: list[BackingService] = []
    on_move = partial(_follow_move, context, manifest, backing)
    files = ProjectFiles(plan.project_dir, plan.claim, plan.token, _make_record(plan), store.event, on_move=on_move)
    try:
        # `outer` is for what runs from the first process to the last one: these tasks must see the stop through.
        async with trio.open_nursery() as outer:
            outer.start_soon(process_table.reap_children)
            outer.start_soon(shutdown.obey_signals, context)
            outer.start_soon(shutdown.obey_up, context, sock)
            outer.start_soon(shutdown.watch_guardian, context, guardian_pipe)
            outer.start_soon(keep_project_files, files, plan.claim.socket)
            context.redis_url = manifest.redis.url
            redis: BackingService | None = None
            if plan.redis is not None:
                redis = await start_redis(plan.redis, context, outer, backing_processes.pop(0))
                backing.append(redis)
            try:
                if not context.stop_requested.is_set():
                    registry = registry_service(plan.registry, context)
                    backing.insert(0, registry)  # stopped first: it writes to Redis until its end
                    outer.start_soon(registry.run, backing_processes.pop())
                    # Not the manifest's address: where its default port is taken, the registry listens on a free one.
                    if plan.registry.address.endswith(":0"):
                        # It chooses a free port, which services need in their environment.
                        await wait_ready_or_stop(context, registry)
                if not context.stop_requested.is_set():
                    await _serve(plan, context, registry, redis, sock, files)
            finally:
                files.remove_record()
                # Also after an error of the supervisor itself: Redis must write its data to the disk.
                with trio.CancelScope(shield=True):
                    for service in backing:
                        await service.stop()
            outer.cancel_scope.cancel()
    finally:
        plan.claim.stop_listening()
        orphans.forget_processes(files.directory)
        context.logs.writer.close(LOG_CLOSE_TIMEOUT_S)
        process_table.close()
        logger.info("stopped")
    return context.exit_code or (1 if context.engine_leftovers else 0)


def _follow_move(
    context: RunContext, manifest: Manifest, backing: Sequence[BackingService], old: Path, new: Path
) -> None:
    """Use the new path of the project directory, which was moved from `old` to `new`."""
    relocation = Relocation(old, new)
    has_moved_store = relocation.text(context.redis_url) != context.redis_url
    context.relocate(relocation)
    context.store.set_manifest(str(context.process_table.current_path(manifest.path)))
    for service in backing:
        service.relocate(relocation)
        if service.spec.name == "registry" and has_moved_store:
            service.restart("is to use Redis at its new path")


def _report_cleanup(plan: LaunchPlan, store: StateStore) -> None:
    """Record events for processes and containers of an earlier run that the launcher removed, and for its warnings."""
    if plan.killed:
        store.event("orphans.killed", f"killed {len(plan.killed)} processes that an earlier run left alive", "warning")
    if plan.removed:
        text = f"removed {len(plan.removed)} containers that an earlier run left: {', '.join(plan.removed)}"
        store.event("containers.removed", text, "warning")
    if plan.not_removed:
        store.event("containers.not_removed", str(plan.not_removed), "warning")
    if plan.mended:
        store.event("redis.data_mended", plan.mended, "warning")
    for warning in plan.warnings:
        store.event("supervisor.port_changed", warning, "warning")


async def _serve(
    plan: LaunchPlan,
    context: RunContext,
    registry: BackingService,
    redis: BackingService | None,
    sock: socket.socket,
    files: ProjectFiles,
) -> None:
    """Run the control API and the services until a stop is requested; return when all services have stopped.

    `registry` is starting: the first services start at the same time, and their registration is retried until it
    answers. `redis` is the embedded one, if there is one.
    """
    store, replicas = context.store, ReplicaSet()
    token, tls = files.token, registry_tls(plan.manifest.registry)
    opened = open_registry(context.registry_address, token=plan.registry_secret, tls=tls)
    async with opened as client, trio.open_nursery() as nursery:
        events = RegistryEvents(store, replicas.by_id)
        replica_ids = ReplicaIds(context.project_key, MAX_REMOVED_SERVICES)
        reconciler: Reconciler | None = None

        def specs() -> Mapping[str, ServiceSpec]:
            return reconciler.specs if reconciler else plan.manifest.services

        def is_leftover(entry: Instance) -> bool:
            """Return whether an earlier run registered the entry, of a replica that this run does not have."""
            # Called at each change of each entry of the registry, also of other programs' entries.
            is_known = entry.uuid in replicas.by_id
            return not is_known and replica_ids.has(entry.name, entry.uuid, is_own=entry.name in specs())

        def reservations() -> Reservations:
            return make_reservations(specs(), ((controller.spec, controller.id) for controller in replicas.all))

        registry_sync = RegistrySync(
            client, nursery, events.on_entry, events.on_rejected, is_leftover, events.on_replaced, reservations
        )
        # `services` is cancelled once all services have stopped; the control API in `nursery` serves their last states.
        async with trio.open_nursery() as services:
            host_services = find_host_services(specs, replicas, store)
            runtimes = Runtimes(context, plan.manifest, host_services, services)
            reconciler = Reconciler(context, plan.manifest, replicas, registry_sync, runtimes, services)
            rollouts = Rollouts(store, replicas, context.stop_requested, services)
            actions = ServiceActions(reconciler, rollouts)
            apply = ManifestReconciler(reconciler, actions, rollouts, services).apply
            commands = CommandHandler(reconciler, actions, apply)
            control = HostPort(*await nursery.start(partial(_serve_control, plan, store, commands, token)))
            reconciler.start()
            watch_files = partial(_watch_files, reconciler, actions, apply)
            services.start_soon(_run_background, store, "watching files", watch_files)
            services.start_soon(_run_background, store, "the schedules", TaskScheduler(reconciler).run)
            services.start_soon(_watch_clock, store)
            await wait_ready_or_stop(context, registry)
            on_health = partial(_show_registry_health, registry, redis, events, registry_sync)
            monitor = RegistryMonitor(client, store.event, on_health, registry.restart_hung)
            services.start_soon(_run_background, store, "watching the registry", monitor.run)
            # Not before the registry answers: the first tries would fail, and their retries come late.
            nursery.start_soon(registry_sync.run)
            ready = replace(files.record, control=str(control), registry=context.registry_address)
            files.write_record(ready)
            answer = {"control": str(control), "token": token, "pid": os.getpid(), "warnings": plan.warnings}
            send_message(sock, {"ready": answer})
            store.set_phase("running")
            logger.info("ready: control API on %s, registry on %s", control, context.registry_address)
            usage = partial(sample_usage, context.process_table, store)
            services.start_soon(_run_background, store, "measuring CPU and memory", usage)
            services.start_soon(_stop_with_service, reconciler, sock)
            await context.stop_requested.wait()
            await _stop_services(context, reconciler)
            services.cancel_scope.cancel()
        await trio.sleep(LAST_DELTA_S)
        nursery.cancel_scope.cancel()


async def _stop_services(context: RunContext, reconciler: Reconciler) -> None:
    """Stop all services, with events at the begin and at the end."""
    began = time.monotonic()
    immediately = " immediately" if context.immediate_stop_requested.is_set() else ""
    logger.info("stopping all services%s", immediately)
    context.store.event("supervisor.stopping", f"stopping everything{immediately}")
    await reconciler.stop_all()
    context.store.event("supervisor.stopped", f"all services stopped after {time.monotonic() - began:.1f} s")


def _show_registry_health(
    registry: BackingService,
    redis: BackingService | None,
    events: RegistryEvents,
    registry_sync: RegistrySync,
    health: RegistryHealth,
) -> None:
    """Pass what is wrong with the registry to all that is shown of it: Redis, the registry, and each of its entries."""
    registry.report("status", health.problem)
    if redis is not None:
        redis.report("registry", f"the registry cannot use it: {health.store}" if health.store else "")
    events.lookup_problem = health.lookups
    registry_sync.set_lookup_problem(health.lookups)


async def _serve_control(
    plan: LaunchPlan,
    store: StateStore,
    commands: CommandHandler,
    token: str,
    *,
    task_status: "trio.TaskStatus[tuple[str, int]]",
) -> None:
    address = plan.control
    await serve_control(store, commands, host=address.host, port=address.port, token=token, task_status=task_status)


def _make_record(plan: LaunchPlan) -> SupervisorRecord:
    """Return the record by which commands find this supervisor, before its addresses are known."""
    own_pid = os.getpid()
    return SupervisorRecord(
        pid=own_pid,
        guardian_pid=os.getppid(),
        start_time=processes.start_time(own_pid),
        boot_id=processes.boot_id(),
        control="",
        registry="",
        manifest=str(plan.manifest.path),
        overrides=tuple(map(str, plan.manifest.overrides)),
        finds_override=plan.manifest.finds_override,
        **origin(plan.project_dir),
        version=minikube.__version__,
    )


async def _stop_with_service(reconciler: Reconciler, sock: socket.socket) -> None:
    """Wait until a service ends the project (`on_exit`, options of `up`), then stop the project.

    Sends the exit code to `up`, which exits with it.
    """
    end, context = await reconciler.exit_watch.wait(), reconciler.context
    context.exit_code = end.code
    # At once: `up --wait` may ask for a stop because of the same failure.
    send_message(sock, {"ended": {"why": str(end), "code": end.code}})
    text, instance = f"{end} — this ends the project", end.instance if end.rule else ""
    context.store.event("supervisor.exit_policy", text, service=end.service, instance=instance)
    record_run_end(context.directory, str(end))
    if context.options.prints_events:
        # A short task may end before `up` has begun to print events.
        with trio.move_on_after(FOLLOWER_TIMEOUT_S):
            await context.store.events_followed.wait()
    context.shutdown()


async def _watch_files(
    reconciler: Reconciler, actions: ServiceActions, apply: Callable[..., Awaitable[object]]
) -> None:
    """Watch the sources of services, and the manifest with `up --watch`, until cancelled.

    Where nothing is to be watched, wait for the next manifest that the reconciler adopts.
    """
    while True:
        adopted, began = reconciler.manifest_adopted, time.time()
        if reconciler.context.options.watch or any(spec.watch for spec in reconciler.specs.values()):
            # Late and in a thread: the import takes 30 ms and some megabytes.
            watcher = await trio.to_thread.run_sync(import_module, "minikube.supervisor.reconcile.watch.watcher")
            await watcher.SourceWatcher(reconciler, actions, apply, began).run()
        await adopted.wait()


async def _watch_clock(store: StateStore) -> NoReturn:
    """Show points in time by the wall clock as it is, and record an event when it is set."""
    before = 0.0
    while True:
        await trio.sleep(CLOCK_POLL_S)
        if store.set_clock_shift(shift := clock_shift()):
            how = "forward" if shift > before else "back"
            store.event("clock.set", f"the clock was set {how} by {format_duration(abs(shift - before))}", "warning")
            before = shift


async def _run_background(store: StateStore, what: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a background task until it returns or fails; record an event when it fails. `what` names it in messages.

    After `ResourceExhausted` it is run again, `TASK_RETRY_S` later. An error never reaches the caller, because it would
    stop every service.
    """
    reported = ""
    while True:
        try:
            await run()
            return
        except Exception as error:
            error = classify(error)
            if not isinstance(error, ResourceExhausted):
                logger.error("%s failed", what, exc_info=error)
                text = f"{what} failed and is off: {error!r} — see {SUPERVISOR_LOG_NAME}"
                store.event("supervisor.task_failed", text, "error")
                return
            if str(error) != reported:
                reported = str(error)
                store.event("supervisor.task_failed", f"{what}: {reported}", "warning")
        await trio.sleep(TASK_RETRY_S)
