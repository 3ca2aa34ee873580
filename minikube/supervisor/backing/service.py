"""Keep one backing service running: show its state and whether it works, restart it when its process exits, stop it at the end.

A process that lives may hang, refuse, or have lost its socket. A ping finds out, and other parts of the supervisor `report` what
they see. All that is shown of the service comes from here, by its row in the state store.
"""

import contextlib
import os
import signal

import trio
import trio.lowlevel
from msgspec import structs

from minikube.clock import steady_time
from minikube.control.state_store import StateStore
from minikube.errors import StartError
from minikube.logs.instance_log import InstanceLog
from minikube.model import CheckState, PartView, ProcessState
from minikube.supervisor.backing.program import BackingProgram, RestartNeeded
from minikube.supervisor.backing.spec import STABLE_S, BackingSpec, backing_command, retry_delay
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import KILL_TIMEOUT_S, ProcessTable
from minikube.text import mask_url

STOP_TIMEOUT_S = 5.0

DRAIN_TIMEOUT_S = 1.0
"""For the rest of the output of a process that has ended."""

PING_INTERVAL_S = 5.0
"""The interval of pings of a service that works. A process that hangs is mostly reported sooner, by its clients."""

RETRY_INTERVAL_S = 1.0
"""The interval of pings of a service that does not work."""


class BackingService:
    """Keeps the embedded Redis or the registry running: starts a new process whenever the process exits before `stop`.

    `program` knows when a process is ready, and whether it works.
    """

    def __init__(
        self,
        spec: BackingSpec,
        process_table: ProcessTable,
        store: StateStore,
        log: InstanceLog,
        program: BackingProgram,
    ) -> None:
        self.spec = spec
        self.ready = trio.Event()
        """Set while the service answers; replaced by a new event when its process dies."""
        self.address = spec.address
        self._process_table = process_table
        self._store = store
        self._log = log
        self._program = program
        self.failed = trio.Event()
        """Set when processes have ended twice with the same reason before they were ready; and the program knows what to do."""
        self.failure = ""
        """That reason, and what a user can do about it."""
        self._process: Process | None = None
        self._restarts = 0
        self._problems: dict[str, str] = {}
        """Why the service does not work, by the source of the report; empty while it works."""
        self._restart_reason = ""
        """Why the running process is ended so that a new one is started; empty while it is to run."""
        self._restart_request = ""
        """Why the newest process is of no use, whatever it does; empty once a start has begun after the request."""
        self._was_ready = False
        """Whether the newest process has answered."""
        self._ping_soon = trio.Event()
        self._view = PartView(spec.name, ProcessState.STOPPED)
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
        failures, name, advice = 0, self.spec.name, ""
        last_reason = ""
        while not self._stopping.is_set():
            started = trio.current_time()
            try:
                adopted, first = first, None
                process = adopted or await self._start()
                reason = await self._run_process(process) or f"ended: {process.exit}"
                if not self._was_ready:
                    words, advice = self._program.explain(self._log.last_lines)
                    reason += f": {words}" if words else ""
            except StartError as error:
                reason = f"did not start: {error}"
            if self._stopping.is_set():
                break
            if self._was_ready:
                last_reason = ""
            elif advice and reason == last_reason and not self.failed.is_set():
                self.failure = f"{name} {reason} — {advice}"
                self.failed.set()
                self._store.event(f"{name}.failed", self.failure, "error")
            # The first failure after a stable run is followed by a start without delay.
            failures = 1 if trio.current_time() - started >= STABLE_S else failures + 1
            self._restarts += 1
            self._show(ProcessState.BACKOFF, detail=reason)
            if reason != last_reason:
                self._store.event(f"{name}.down", f"{name} {reason} — starting it again", "error")
            last_reason = reason
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

    def relocate(self, relocation: Relocation) -> None:
        """Use the new place of the project directory, which was moved; the running process goes on."""
        spec = self.spec
        self.spec = structs.replace(
            spec,
            argv=tuple(map(relocation.text, spec.argv)),
            env={name: relocation.text(value) for name, value in spec.env.items()},
            cwd=relocation.path(spec.cwd),
            address=relocation.text(spec.address),
        )
        self.address = relocation.text(self.address)
        self._program.relocate(relocation)
        if self._view.state is ProcessState.RUNNING:
            self._show_running()
        self._ping_soon.set()

    async def _start(self) -> Process:
        await self._program.prepare()
        self._restart_request = ""  # this process gets the spec as it is now
        return await self._process_table.start(backing_command(self.spec))

    async def _run_process(self, process: Process) -> str:
        """Copy the output of `process` into the log until `process` exits; then kill its descendants.

        Return why the process was ended in order to start a new one; empty where it exited by itself or by `stop`.
        """
        self._process = process
        self._problems.pop("ping", None)
        self._log.clear()  # lines of an earlier process must not be taken for this one's address
        self._show(ProcessState.STARTING, CheckState.STARTING)
        self._restart_reason = ""
        self._was_ready = False
        if self._restart_request:
            self._kill(self._restart_request)
        drained = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_output, process, drained)
                nursery.start_soon(self._observe, process)
                nursery.start_soon(self._end_when_stopping)
                await process.wait_exit()
                self._process = None
                if self.ready.is_set():  # tasks that wait from now on wait for the next process
                    self.ready = trio.Event()
                await trio.lowlevel.checkpoint()
                with trio.CancelScope(shield=True):
                    await self._process_table.end(self.spec.name, signal.SIGKILL, 0.0)
                # Its last lines say why it has ended.
                with trio.move_on_after(DRAIN_TIMEOUT_S):
                    await drained.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._process = None
            self._process_table.forget(process)
        return self._restart_reason

    async def _read_output(self, process: Process, drained: trio.Event) -> None:
        """Copy the output of a process into the log until its end; then set `drained`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._log.read, process.stdout, "stdout")
            nursery.start_soon(self._log.read, process.stderr, "stderr")
        drained.set()

    async def _end_when_stopping(self) -> None:
        await self._stopping.wait()
        self._show(ProcessState.STOPPING)
        await self._process_table.end(self.spec.name, signal.SIGTERM, STOP_TIMEOUT_S)

    # ------------------------------------------------------------ whether it works

    def report(self, source: str, problem: str) -> None:
        """Record why the service does not work, as `source` sees it; an empty `problem`: it works, as far as that sees.

        Until a process is ready, its state is shown instead.
        """
        if self._problems.get(source, "") == problem:
            return
        if problem:
            self._problems[source] = problem
        else:
            del self._problems[source]
        if self._view.state is ProcessState.RUNNING:
            self._show_running()
        # What another part has found out is to be seen by the ping as well.
        self._ping_soon.set()

    def restart_hung(self, reason: str) -> None:
        """Kill the process, which hangs and would not end by SIGTERM; a new one is started. Ignored until a process is ready."""
        if self.ready.is_set():
            self._kill(reason)

    def restart(self, reason: str) -> None:
        """Kill the process, because the spec has changed, also one that is not ready or is just being started."""
        self._restart_request = reason
        self._kill(reason)

    def _kill(self, reason: str) -> None:
        if self._process is None or self._stopping.is_set():
            return
        self._restart_reason = reason
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)

    def _show_running(self) -> None:
        # The ping's own reason first: it tells a process that is suspended from one that hangs.
        detail = self._problems.get("ping") or next(iter(self._problems.values()), "")
        self._show(ProcessState.RUNNING, CheckState.CRITICAL if detail else CheckState.PASSING, detail)

    async def _observe(self, process: Process) -> None:
        """Wait until `process` is ready, then ping it. Where only a new process can help, set `_restart_reason` and end it."""
        self.address = await self._program.wait_ready(process)
        self.spec = self._program.next_spec(self.spec, self.address)
        self._was_ready = True
        self.ready.set()
        self._show_running()
        name = self.spec.name
        if self._restarts:
            # It accepts connections. What its status said before the restart, a store that is away, is not over by that.
            text = "runs again, but does not work in full yet" if "status" in self._problems else "answers again"
            self._store.event(f"{name}.up", f"{name} {text}")
        while self._program.is_pinged:
            self._ping_soon = trio.Event()
            with trio.move_on_after(RETRY_INTERVAL_S if "ping" in self._problems else PING_INTERVAL_S):
                await self._ping_soon.wait()
            try:
                problem = await self._program.ping(process)
            except RestartNeeded as error:
                if self._stopping.is_set():
                    return
                self._restart_reason = str(error)
                self._show(ProcessState.STOPPING, CheckState.CRITICAL, str(error))
                await self._process_table.end(name, signal.SIGTERM, STOP_TIMEOUT_S)
                return
            self._on_ping(problem)

    def _on_ping(self, problem: str) -> None:
        """Record the result of a ping, with an event when it differs from the one before."""
        name, before = self.spec.name, self._problems.get("ping", "")
        self.report("ping", problem)
        if problem and not before:
            self._store.event(f"{name}.unresponsive", f"{name} {problem}", "error")
        elif before and not problem:
            self._store.event(f"{name}.responsive", f"{name} answers again")

    def _show(self, state: ProcessState, check: CheckState | None = None, detail: str = "") -> None:
        now, before = steady_time(), self._view
        self._view = PartView(
            name=self.spec.name,
            state=state,
            address=mask_url(self.address),
            pid=self._process.pid if self._process else 0,
            restarts=self._restarts,
            since=before.since if state is before.state else now,
            detail=detail,
            check=check,
            check_since=(before.check_since if check is before.check else now) if check else 0.0,
        )
        self._store.put_parts(self._view)
