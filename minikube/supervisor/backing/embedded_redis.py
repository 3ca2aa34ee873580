"""The embedded Redis as a backing service's program: its pings, its data, and what its log says of a bad start."""

import contextlib
from pathlib import Path
from urllib.parse import unquote

import trio

from minikube.errors import StartError
from minikube.logs.instance_log import InstanceLog
from minikube.project import orphans
from minikube.project_dir import PROJECT_DIR, REDIS_DATA_DIR, log_name, own_log
from minikube.supervisor.backing.program import BackingProgram, RestartNeeded
from minikube.supervisor.backing.redis import prepare_redis_files
from minikube.supervisor.backing.redis_data import TRUNCATED, last_warnings, mend_tail, recovery_advice
from minikube.supervisor.backing.redis_ping import ping_redis
from minikube.supervisor.backing.redis_program import Writer, parse_version, record_writer
from minikube.supervisor.backing.redis_rescue import RedisRescue, RescueFailed
from minikube.supervisor.backing.spec import BackingSpec
from minikube.supervisor.context import RunContext
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.process.process import Process

READY_POLL_S = 0.005
INFO_TIMEOUT_S = 1.0
REMOVAL_S = 0.1
"""How long after its socket the data of Redis may be removed by the same command."""


class EmbeddedRedis(BackingProgram):
    """The Redis that the supervisor starts. It is pinged, and its data are written again where their directory was removed."""

    is_pinged = True

    def __init__(self, spec: BackingSpec, context: RunContext, log: InstanceLog) -> None:
        self._program = spec.argv[0]
        self._address = spec.address
        self._path = unquote(spec.address.removeprefix("unix://"))
        self._context = context
        self._log = log
        self._data = context.directory / REDIS_DATA_DIR
        self.rescue = RedisRescue(self._path, context.directory)

    def relocate(self, relocation: Relocation) -> None:
        """Use the new place of socket and data; see `BackingProgram`. The running server has moved with them."""
        self._address, self._path = relocation.text(self._address), relocation.text(self._path)
        self._data = relocation.path(self._data)
        self.rescue.move(self._path, self._data.parent)

    @property
    def _away(self) -> str:
        return f"{self._data.parents[1]} was moved or removed — move it back"

    async def wait_ready(self, process: Process) -> str:
        """Wait until the server answers PING, and note which program has written the data; see `BackingProgram`."""
        # Immediately: it overwrites its environment with its title, so that an orphan is found by the record only.
        orphans.record_processes(self._context.directory, self._context.process_table.identities)
        self._log.expect(TRUNCATED, self._report_truncation)
        await wait_redis(self._path)
        await self.rescue.connect(process.pid)
        if version := parse_version(await read_info(self._path)):
            record_writer(self._context.directory, Writer(self._program, version))
        return self._address

    async def ping(self, process: Process) -> str:
        """Ask the server whether it works, and look for its socket and its data; see `BackingProgram`."""
        problem, restart = "", None
        try:
            problem = await ping_redis(self._path, process.pid)
        except RestartNeeded as error:
            restart = error
            await trio.sleep(REMOVAL_S)
        if not problem and self.rescue.is_possible and self.rescue.is_data_gone():
            return await self._write_data_again()
        if restart is None:
            return problem
        # Its data moved with the directory: a new process would begin without data.
        if self.rescue.is_project_away():
            return f"cannot be reached: {self._away}"
        raise restart

    async def prepare(self) -> None:
        """Make directories and files of the server, and mend the end of its data; see `BackingProgram`."""
        if self.rescue.is_project_away():
            raise StartError(self._away)
        if not self._data.is_dir():
            text = "the data of Redis was removed while it ran: it starts empty, and what was registered is put back"
            self._context.store.event("redis.data_removed", text, "warning")
        prepare_redis_files(self._context.directory, Path(self._path))
        # In a thread: a file that ends badly is read whole, and may have gigabytes.
        if mended := await trio.to_thread.run_sync(mend_tail, self._context.directory):
            self._context.store.event("redis.data_mended", mended, "warning")

    def explain(self, lines: tuple[str, ...]) -> tuple[str, str]:
        """Return the last warnings of the server, and how to recover its data; see `BackingProgram`."""
        return last_warnings(lines), recovery_advice(self._context.directory, self._program)

    def _report_truncation(self) -> None:
        what = "the last command in its append-only file was incomplete, as after a power cut, and was cut"
        text = f"redis: {what} — see {log_name(own_log('redis'))}"
        self._context.store.event("redis.data_mended", text, "warning")

    async def _write_data_again(self) -> str:
        """Write all data of the running server to a new directory, and raise `RestartNeeded`; return why it could not be done."""
        try:
            aside = await self.rescue.write_data()
        except RescueFailed as error:
            removed = f"its data directory {self._data} was removed"
            return f"writes to removed files: {removed}, and cannot be written again: {error}"
        more = f"; what stood there now is in {PROJECT_DIR}/{aside}" if aside else ""
        text = f"the data directory of Redis was removed while it ran: all data was written again to {self._data}{more}"
        self._context.store.event("redis.data_rescued", text, "warning")
        raise RestartNeeded("is to use its new data directory")


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
