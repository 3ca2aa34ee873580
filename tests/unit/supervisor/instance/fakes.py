"""A supervisor, runtime, registry and process that are fakes, for tests of controllers in virtual time."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import trio
import trio.testing

from minikube.control.state_store import StateStore
from minikube.health.prober import Prober
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.model import Instance, ProcessState, Registration
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.collaborators import Collaborators
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.readiness.start_time import StartTime
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import ExecResult, Launch, Runtime

TERM, KILL = 15, 9
SPEC = ServiceSpec("x", Path("/"), ("run",), register="none")


class FakeLog:
    """An instance's log that keeps nothing."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec.logs
        self.last_lines: tuple[str, ...] = ("last words",)
        self.masked: tuple[str, ...] = ()
        self.inserted: list[str] = []

    def hide_secrets(self, text: str, *, limit: int = 0) -> str:
        return text

    def insert(self, text: str) -> None:
        self.inserted.append(text)

    def clear(self) -> None: ...

    def mask(self, secrets: Iterable[str]) -> None:
        self.masked = tuple(secrets)

    def expect(self, pattern: str, found: object) -> None: ...

    async def read(self, descriptor: int, stream: str) -> None:
        await trio.lowlevel.checkpoint()


class FakeProcess:
    """Implements `Running`: exits by itself after `lifetime` seconds, and `stop_delay` after a signal; ignores it for None."""

    stdout = stderr = -1
    host = "127.0.0.1"
    env: Mapping[str, str] = {}

    def __init__(self, supervisor: "FakeSupervisor", pid: int) -> None:
        self.pid = pid
        self.ports = InstancePorts(supervisor.port)
        self.reached_ports: InstancePorts | None = None
        self.exited = trio.Event()
        self.exit: Exit | None = None
        self._supervisor = supervisor

    def die(self, status: int) -> None:
        if self.exit is None:
            self.exit = Exit(status)
            self._supervisor.note("died", status)
            self.exited.set()

    async def wait_exit(self) -> Exit:
        if self._supervisor.watch_error and self.exit is None:
            await trio.sleep(0.2)
            raise self._supervisor.watch_error
        with trio.move_on_after(self._supervisor.lifetime):
            await self.exited.wait()
        self.die(1)
        assert self.exit is not None
        return self.exit

    async def send_signal(self, number: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.die(-number)
        return True

    def describe_alive(self) -> list[str]:
        return [f"pid {self.pid} (fake)"] if self.exit is None else []

    async def end(self, number: int, timeout: float) -> list[str]:
        if self.exit is not None:
            await trio.lowlevel.checkpoint()
            return []
        self._supervisor.note("signal", number, timeout)
        try:
            with trio.move_on_after(timeout):
                if self._supervisor.stop_delay is not None and number != KILL:
                    await trio.sleep(self._supervisor.stop_delay)
                    self.die(-number)
                await self.exited.wait()
            return self.describe_alive()
        finally:
            self.die(-KILL)

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        await trio.sleep(0.01)
        self._supervisor.note("ran", *argv)
        return ExecResult(Exit(self._supervisor.check_status), "as asked")

    def close(self) -> None:
        self._supervisor.alive -= 1


class FakeSupervisor:
    """The collaborators of a controller, its runtime and the registry: what happens is noted with its time."""

    def __init__(self) -> None:
        self.store = StateStore("test")
        self.stop_requested = CancelEvent()
        self.immediate_stop_requested = ResettableEvent()
        self.lifetime = float("inf")
        self.port = 0
        self.stop_delay: float | None = 0.1
        self.check_status = 0
        self.unmet = ""
        """Why dependencies are not met."""
        self.ends: list[tuple[float, InstanceState]] = []
        """The ends for good of the instance, with their times."""
        self.skipped: tuple[str, ...] = ()
        """Optional dependencies that failed."""
        self.start_error: Exception | None = None
        self.watch_error: Exception | None = None
        self.prepare_delay = self.start_delay = 0.0
        """How long preparation and start take; a start cannot be interrupted."""
        self.was_registered = True
        self.lookup_problem = ""
        self.lookup_problem_since = 0.0
        self.alive = self.most = self.starting = 0
        self.happened: list[tuple[Any, ...]] = []
        self.processes: list[FakeProcess] = []
        self.logs: list[FakeLog] = []
        self._began = trio.current_time()

    @property
    def collaborators(self) -> Collaborators:
        # The lambdas look methods up at each call: tests replace them meanwhile.
        return Collaborators(
            store=self.store,
            registry_sync=cast(RegistrySync, self),
            prober=Prober(),
            stop_requested=self.stop_requested,
            immediate_stop_requested=self.immediate_stop_requested,
            select_runtime=lambda spec: cast(Runtime, self),
            taken_ports=lambda id: frozenset(),
            open_log=lambda spec, name, secrets: cast(InstanceLog, self.open_log(spec)),
            unmet_dependency=lambda spec: self.unmet_dependency(spec),
            skipped_dependencies=lambda spec: self.skipped,
            on_end=lambda spec, name, state: self.ends.append((round(trio.current_time() - self._began, 6), state)),
            record_processes=lambda: self.record_processes(),
            next_run=lambda name: 0.0,
        )

    def note(self, *what: object) -> None:
        self.happened.append((round(trio.current_time() - self._began, 6), *what))

    def times(self, what: str) -> list[float]:
        return [time for time, kind, *_ in self.happened if kind == what]

    def open_log(self, spec: ServiceSpec) -> FakeLog:
        self.logs.append(FakeLog(spec))
        return self.logs[-1]

    def unmet_dependency(self, spec: ServiceSpec) -> str:
        return self.unmet

    def record_processes(self) -> None: ...

    # ------------------------------------------------------------ Runtime

    async def prepare(self, spec: ServiceSpec, log: object, show_progress: object) -> None:
        self.note("prepared")
        await trio.sleep(self.prepare_delay)

    async def start(self, launch: Launch) -> FakeProcess:
        self.note("started")
        self.starting += 1
        try:
            return await self._start()
        finally:
            self.starting -= 1

    async def _start(self) -> FakeProcess:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            await trio.sleep(self.start_delay)
        if self.start_error:
            raise self.start_error
        self.alive += 1
        self.most = max(self.most, self.alive)
        self.processes.append(FakeProcess(self, len(self.processes) + 1))
        return self.processes[-1]

    # ------------------------------------------------------------ RegistrySync

    def on_start(self, id: str, start_time: StartTime) -> None: ...

    def register(self, id: str, registration: Registration) -> None: ...

    def entry(self, id: str) -> Instance | None:
        return None

    def report(self, id: str, registration: Registration, passing: bool, output: str) -> None:
        self.note("reported", passing)

    def deregister_soon(self, id: str) -> None: ...

    async def deregister(self, id: str) -> bool:
        self.note("deregistered")
        await trio.lowlevel.checkpoint()
        return self.was_registered


class ResettableEvent(CancelEvent):
    """An event that a test can use again."""

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


class Story:
    """`async with Story(spec) as story`: a controller at work."""

    def __init__(self, spec: ServiceSpec = SPEC, supervisor: "FakeSupervisor | None" = None) -> None:
        self.supervisor = supervisor or FakeSupervisor()
        self.controller = InstanceController(self.supervisor.collaborators, spec, 1, "0badcafe", DesiredState())

    async def __aenter__(self) -> "Story":
        self._manager = trio.open_nursery()
        self.nursery = await self._manager.__aenter__()
        self.nursery.start_soon(self.controller.run)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)

    def state(self) -> ProcessState:
        return self.controller.state.process_state

    async def wait(self, seconds: float = 0.0) -> None:
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()

    def stop_immediately(self) -> None:
        """Stop everything without time for graceful stops."""
        self.controller.stop()
        self.supervisor.immediate_stop_requested.set()

    def kill(self) -> None:
        self.supervisor.processes[-1].die(-KILL)
