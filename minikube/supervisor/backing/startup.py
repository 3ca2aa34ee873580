"""Create the two backing services, Redis and the registry, from their specs, and wait until they answer."""

import contextlib
from urllib.parse import unquote

import trio

from minikube.errors import StartError
from minikube.manifest import LogSpec
from minikube.project_dir import PROJECT_DIR, REDIS_DATA_DIR, log_name
from minikube.supervisor.backing.redis import prepare_redis_files
from minikube.supervisor.backing.redis_data import TRUNCATED, last_warnings, mend_tail, recovery_advice
from minikube.supervisor.backing.redis_ping import ping_redis
from minikube.supervisor.backing.redis_program import Writer, parse_version, record_writer
from minikube.supervisor.backing.redis_rescue import RedisRescue, RescueFailed
from minikube.supervisor.backing.registry import later_start
from minikube.supervisor.backing.service import BackingService, RestartNeeded
from minikube.supervisor.backing.spec import BackingSpec, with_address
from minikube.supervisor.context import RunContext
from minikube.supervisor.runtime.process.process import Process

READY_TIMEOUT_S = 30.0
READY_POLL_S = 0.005
INFO_TIMEOUT_S = 1.0
REMOVAL_S = 0.1
"""How long after its socket the data of Redis may be removed by the same command."""

LISTENING = "listening on "
"""The words in the registry's log before its address."""

RELAYS = "registry: relays at "
"""The words in the registry's log before the address for relays, where that is another one."""


async def start_redis(spec: BackingSpec, context: RunContext, nursery: trio.Nursery, first: Process) -> BackingService:
    """Run the embedded Redis in `nursery`; return its `BackingService` when Redis answers or a stop is requested.

    `first` is the Redis process, started before trio. Raises `StartError` when Redis does not answer in time.
    """
    context.redis_url = spec.address
    path = unquote(spec.address.removeprefix("unix://"))

    async def wait_ready(process: Process) -> str:
        log.expect(TRUNCATED, report_truncation)
        await wait_redis(path)
        await rescue.connect(process.pid)
        if version := parse_version(await read_info(path)):
            record_writer(context.directory, Writer(spec.argv[0], version))
        return context.redis_url

    def report_truncation() -> None:
        what = "the last command in its append-only file was incomplete, as after a power cut, and was cut"
        text = f"redis: {what} — see {log_name('redis')}"
        context.store.event("redis.data_mended", text, "warning")

    def explain(lines: tuple[str, ...]) -> tuple[str, str]:
        return last_warnings(lines), recovery_advice(context.directory, spec.argv[0])

    async def ping(process: Process) -> str:
        problem, restart = "", None
        try:
            problem = await ping_redis(path, process.pid)
        except RestartNeeded as error:
            restart = error
            await trio.sleep(REMOVAL_S)
        if not problem and rescue.is_possible and rescue.is_data_gone():
            return await write_data_again()
        if restart is None:
            return problem
        # Its data moved with the directory: a new process would begin without data.
        if context.directory.parent.is_dir():
            raise restart
        return f"cannot be reached: {context.directory.parent} was moved or removed — move it back"

    async def write_data_again() -> str:
        try:
            aside = await rescue.write_data()
        except RescueFailed as error:
            return (
                f"writes to removed files: its data directory {data} was removed, and cannot be written again: {error}"
            )
        more = f"; what stood there now is in {PROJECT_DIR}/{aside}" if aside else ""
        text = f"the data directory of Redis was removed while it ran: all data was written again to {data}{more}"
        context.store.event("redis.data_rescued", text, "warning")
        raise RestartNeeded("is to use its new data directory")

    async def prepare() -> None:
        if not (context.directory / REDIS_DATA_DIR).is_dir():
            text = "the data of Redis was removed while it ran: it starts empty, and what was registered is put back"
            context.store.event("redis.data_removed", text, "warning")
        prepare_redis_files(context.directory)
        # In a thread: a file that ends badly is read whole, and may have gigabytes.
        if mended := await trio.to_thread.run_sync(mend_tail, context.directory):
            context.store.event("redis.data_mended", mended, "warning")

    data = context.directory / REDIS_DATA_DIR
    rescue = RedisRescue(path, context.directory)
    log = context.logs.open("redis", "redis", LogSpec())
    service = BackingService(spec, context.process_table, context.store, log, wait_ready, ping, prepare, explain)
    nursery.start_soon(rescue.run)
    nursery.start_soon(service.run, first)
    await wait_ready_or_stop(context, service)
    return service


def registry_service(spec: BackingSpec, context: RunContext) -> BackingService:
    """Return the registry as a `BackingService` that is not running yet.

    Whenever a process of the registry listens, its address is written into `context` and into the state store.
    """
    log = context.logs.open("registry", "registry", LogSpec())

    async def wait_ready(process: Process) -> str:
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
        service.spec = later_start(with_address(service.spec, context.registry_address))
        return context.registry_address

    service = BackingService(spec, context.process_table, context.store, log, wait_ready)
    return service


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
        raise StartError(f"{name}: does not answer after {READY_TIMEOUT_S:g} s — see {log_name(name)}")


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def read_info(path: str) -> str:
    """Return the reply of the Redis server on the unix socket `path` to `INFO server`; empty where it does not reply in time."""
    reply = b""
    with contextlib.suppress(OSError, trio.BrokenResourceError), trio.move_on_after(INFO_TIMEOUT_S):
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"INFO server\r\nQUIT\r\n")
            async for chunk in stream:
                reply += chunk
    return reply.decode("utf-8", "replace")


async def wait_redis(path: str) -> None:
    """Wait until the Redis server on the unix socket `path` answers PING. Has no time-out: the caller sets one."""
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(b"PING\r\n")
                # A server that still loads its data answers -LOADING.
                if (await stream.receive_some(64)).startswith(b"+PONG"):
                    return
        await trio.sleep(READY_POLL_S)
