"""Create the two backing services, Redis and the registry, from their specs, and wait until they answer."""

import trio

from minikube.errors import StartError
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import LogSpec
from minikube.project_dir import log_name, own_log
from minikube.supervisor.backing.embedded_redis import EmbeddedRedis
from minikube.supervisor.backing.program import BackingProgram
from minikube.supervisor.backing.registry import later_start
from minikube.supervisor.backing.service import BackingService
from minikube.supervisor.backing.spec import BackingSpec, with_address
from minikube.supervisor.context import RunContext
from minikube.supervisor.runtime.process.process import Process

READY_TIMEOUT_S = 30.0

LISTENING = "listening on "
"""The words in the registry's log before its address."""

RELAYS = "registry: relays at "
"""The words in the registry's log before the address for relays, where that is another one."""


async def start_redis(spec: BackingSpec, context: RunContext, nursery: trio.Nursery, first: Process) -> BackingService:
    """Run the embedded Redis in `nursery`; return its `BackingService` when Redis answers or a stop is requested.

    `first` is the Redis process, started before trio. Raises `StartError` when Redis does not answer in time.
    """
    context.redis_url = spec.address
    log = context.logs.open(own_log("redis"), own_log("redis"), LogSpec())
    redis = EmbeddedRedis(spec, context, log)
    service = BackingService(spec, context.process_table, context.store, log, redis)
    nursery.start_soon(redis.rescue.run)
    nursery.start_soon(service.run, first)
    await wait_ready_or_stop(context, service)
    return service


def registry_service(spec: BackingSpec, context: RunContext) -> BackingService:
    """Return the registry as a `BackingService` that is not running yet.

    Whenever a process of the registry listens, its address is written into `context` and into the state store.
    """
    log = context.logs.open(own_log("registry"), own_log("registry"), LogSpec())
    return BackingService(spec, context.process_table, context.store, log, _Registry(context, log))


class _Registry(BackingProgram):
    """The project's registry. Its clients tell whether it works, so it is not pinged."""

    def __init__(self, context: RunContext, log: InstanceLog) -> None:
        self._context = context
        self._log = log

    async def wait_ready(self, process: Process) -> str:
        """Wait until the registry's log says where it listens; see `BackingProgram`."""
        context, log = self._context, self._log
        listening = trio.Event()
        log.expect(LISTENING, listening.set)
        # The line may have been read before `expect`.
        for line in log.last_lines:
            if LISTENING in line:
                listening.set()
        await listening.wait()
        line = next((line for line in reversed(log.last_lines) if LISTENING in line), "")
        context.registry_address = line.rpartition(LISTENING)[2].split()[0] if line else context.registry_address
        relay = next((line for line in reversed(log.last_lines) if RELAYS in line), "")
        context.relayed_registry = relay.rpartition(RELAYS)[2] or context.registry_address
        context.store.set_registry(context.registry_address)
        return context.registry_address

    def next_spec(self, spec: BackingSpec, address: str) -> BackingSpec:
        """Return the spec of a later process, which listens at the same address; see `BackingProgram`."""
        return later_start(with_address(spec, address))


async def wait_ready_or_stop(context: RunContext, service: BackingService) -> None:
    """Wait until the backing service answers or a stop is requested.

    Raises `StartError` after `READY_TIMEOUT_S`, and where it has ended twice for the same reason.
    """
    with trio.move_on_after(READY_TIMEOUT_S) as timeout, context.stop_requested.cancels():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after, service.failed, nursery.cancel_scope)
            await service.ready.wait()
            nursery.cancel_scope.cancel()
    if service.failed.is_set() and not service.ready.is_set():
        raise StartError(service.failure)
    if timeout.cancelled_caught:
        name = service.spec.name
        raise StartError(f"{name}: does not answer after {READY_TIMEOUT_S:g} s — see {log_name(own_log(name))}")


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
