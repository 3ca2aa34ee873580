"""Runs one of the supervisor's own parts (floor 3): shown on the board, restarted at once when it dies, stopped at the end."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable

import trio
import trio.lowlevel

from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.logs.instance_log import InstanceLog
from minikube.model import PartView, ProcessState
from minikube.supervisor.backing.parts import STEADY_S, PartSpec, retry_delay
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.runtime.failures import classify
from minikube.supervisor.runtime.process.process import KILL_PATIENCE_S, Command, Process, ProcessTable
from minikube.text import mask_url

STOP_TIMEOUT_S = 5.0


class PartRunner:
    """`ready` is set while it answers. `wait_ready` (given) tells when, and where."""

    def __init__(
        self,
        spec: PartSpec,
        household: ProcessTable,
        board: StateStore,
        output: InstanceLog,
        wait_ready: Callable[[Process], Awaitable[str]],
    ) -> None:
        self.spec = spec
        self.ready = trio.Event()
        self.address = spec.address
        self._household = household
        self._board = board
        self._output = output
        self._wait_ready = wait_ready
        self._process: Process | None = None
        self._restarts = 0
        self._stopping = CancelEvent()
        self._finished = trio.Event()
        self._since = time.time()

    async def run(self, first: "subprocess.Popen[bytes] | None") -> None:
        """Until `stop`; a death in between is followed by another start."""
        try:
            await self._run(first)
        finally:
            self._finished.set()

    async def _run(self, first: "subprocess.Popen[bytes] | None") -> None:
        quick = 0
        while not self._stopping.is_set():
            began = trio.current_time()
            try:
                given, first = first, None
                process = self._adopt(given) if given else await self._start()
                await self._life(process)
                why = str(process.exit)
            except StartError as error:
                why = str(error)
            if self._stopping.is_set():
                break
            quick = 1 if trio.current_time() - began >= STEADY_S else quick + 1
            self._restarts += 1
            self._show(ProcessState.BACKOFF, why)
            self._board.event(f"{self.spec.name}.down", f"{self.spec.name} ended: {why} — starting it again", "error")
            with self._stopping.cancels():
                await trio.sleep(retry_delay(quick))
        self._show(ProcessState.STOPPED)

    async def stop(self) -> None:
        """TERM, patience, KILL; also of what is just being started. Returns when nothing of it is alive."""
        self._stopping.set()
        with trio.move_on_after(STOP_TIMEOUT_S + KILL_PATIENCE_S):
            await self._finished.wait()

    def _adopt(self, first: "subprocess.Popen[bytes]") -> Process:
        try:
            return self._household.adopt(first, self.spec.name)
        except OSError as error:
            raise classify(error) from error

    async def _start(self) -> Process:
        spec = self.spec
        return await self._household.start(Command(spec.argv, spec.env, spec.cwd, spec.name))

    async def _life(self, process: Process) -> None:
        self._process = process
        self._output.clear()  # where an earlier life listened says nothing of this one
        self._show(ProcessState.STARTING)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._output.read, process.stdout, "stdout")
                nursery.start_soon(self._output.read, process.stderr, "stderr")
                nursery.start_soon(self._become_ready, process)
                nursery.start_soon(self._end_when_stopping)
                await process.watch()
                self._process = None
                if self.ready.is_set():  # who waits for it goes on waiting, for the next life
                    self.ready = trio.Event()
                await trio.lowlevel.checkpoint()
                with trio.CancelScope(shield=True):
                    await self._household.end(self.spec.name, signal.SIGKILL, 0.0)
                nursery.cancel_scope.cancel()
        finally:
            self._process = None
            self._household.forget(process)

    async def _end_when_stopping(self) -> None:
        await self._stopping.wait()
        self._show(ProcessState.STOPPING)
        await self._household.end(self.spec.name, signal.SIGTERM, STOP_TIMEOUT_S)

    async def _become_ready(self, process: Process) -> None:
        self.address = await self._wait_ready(process)
        self.ready.set()
        self._show(ProcessState.RUNNING)
        if self._restarts:
            self._board.event(f"{self.spec.name}.up", f"{self.spec.name} answers again")

    def _show(self, state: ProcessState, detail: str = "") -> None:
        self._since = time.time()
        self._board.put_parts(
            PartView(
                name=self.spec.name,
                state=state,
                address=mask_url(self.address),
                pid=self._process.pid if self._process else 0,
                restarts=self._restarts,
                since=self._since,
                detail=detail,
            )
        )


async def wait_redis(path: str) -> None:
    """Until the server on the unix socket answers PING (not LOADING); never gives up, the caller has a deadline."""
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(b"PING\r\n")
                if (await stream.receive_some(64)).startswith(b"+PONG"):
                    return
        await trio.sleep(0.005)
