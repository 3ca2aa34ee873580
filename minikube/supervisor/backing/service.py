"""Keep one backing service running: show its state, restart it when its process exits, stop it at the end."""

import signal
import time
from collections.abc import Awaitable, Callable

import trio
import trio.lowlevel

from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.logs.instance_log import InstanceLog
from minikube.model import PartView, ProcessState
from minikube.supervisor.backing.spec import STABLE_S, BackingSpec, backing_command, retry_delay
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import KILL_TIMEOUT_S, ProcessTable
from minikube.text import mask_url

STOP_TIMEOUT_S = 5.0


class BackingService:
    """Keeps the embedded Redis or the registry running: starts a new process whenever the process exits before `stop`.

    `wait_ready` is called for each process. It waits until the process answers, and returns the service's address.
    """

    def __init__(
        self,
        spec: BackingSpec,
        process_table: ProcessTable,
        store: StateStore,
        log: InstanceLog,
        wait_ready: Callable[[Process], Awaitable[str]],
    ) -> None:
        self.spec = spec
        self.ready = trio.Event()
        """Set while the service answers; replaced by a new event when its process dies."""
        self.address = spec.address
        self._process_table = process_table
        self._store = store
        self._log = log
        self._wait_ready = wait_ready
        self._process: Process | None = None
        self._restarts = 0
        self._stopping = CancelEvent()
        self._finished = trio.Event()

    async def run(self, first: Process | None) -> None:
        """Run the service until `stop` is called, restarting its process when that exits.

        `first` is a process of the service that was started before trio; None: start one.
        """
        try:
            await self._run(first)
        finally:
            self._finished.set()

    async def _run(self, first: Process | None) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = trio.current_time()
            try:
                adopted, first = first, None
                process = adopted or await self._process_table.start(backing_command(self.spec))
                await self._run_process(process)
                reason = str(process.exit)
            except StartError as error:
                reason = str(error)
            if self._stopping.is_set():
                break
            # The first failure after a stable run is followed by a start without delay.
            failures = 1 if trio.current_time() - started >= STABLE_S else failures + 1
            self._restarts += 1
            self._show(ProcessState.BACKOFF, reason)
            name = self.spec.name
            self._store.event(f"{name}.down", f"{name} ended: {reason} — starting it again", "error")
            with self._stopping.cancels():
                await trio.sleep(retry_delay(failures))
        self._show(ProcessState.STOPPED)

    async def stop(self) -> None:
        """Stop the service: send TERM, after `STOP_TIMEOUT_S` KILL. Return when all processes of the service are dead.

        Gives up after `STOP_TIMEOUT_S` and `KILL_TIMEOUT_S` together.
        """
        self._stopping.set()
        # A process that is just being started is ended as soon as it runs: `_run_process` sees `_stopping`.
        with trio.move_on_after(STOP_TIMEOUT_S + KILL_TIMEOUT_S):
            await self._finished.wait()

    async def _run_process(self, process: Process) -> None:
        """Copy the output of `process` into the log until `process` exits; then kill its descendants."""
        self._process = process
        self._log.clear()  # lines of an earlier process must not be taken for this one's address
        self._show(ProcessState.STARTING)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._log.read, process.stdout, "stdout")
                nursery.start_soon(self._log.read, process.stderr, "stderr")
                nursery.start_soon(self._wait_until_ready, process)
                nursery.start_soon(self._end_when_stopping)
                await process.wait_exit()
                self._process = None
                if self.ready.is_set():  # tasks that wait from now on wait for the next process
                    self.ready = trio.Event()
                await trio.lowlevel.checkpoint()
                with trio.CancelScope(shield=True):
                    await self._process_table.end(self.spec.name, signal.SIGKILL, 0.0)
                nursery.cancel_scope.cancel()
        finally:
            self._process = None
            self._process_table.forget(process)

    async def _end_when_stopping(self) -> None:
        await self._stopping.wait()
        self._show(ProcessState.STOPPING)
        await self._process_table.end(self.spec.name, signal.SIGTERM, STOP_TIMEOUT_S)

    async def _wait_until_ready(self, process: Process) -> None:
        self.address = await self._wait_ready(process)
        self.ready.set()
        self._show(ProcessState.RUNNING)
        if self._restarts:
            self._store.event(f"{self.spec.name}.up", f"{self.spec.name} answers again")

    def _show(self, state: ProcessState, detail: str = "") -> None:
        self._store.put_parts(
            PartView(
                name=self.spec.name,
                state=state,
                address=mask_url(self.address),
                pid=self._process.pid if self._process else 0,
                restarts=self._restarts,
                since=time.time(),
                detail=detail,
            )
        )
