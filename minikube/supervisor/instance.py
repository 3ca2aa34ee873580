"""One instance, from its first start to its removal (floor 3): the trio shell round `lifecycle`.

`Runner.run` is one task for the instance's whole time: wait for dependencies, start, watch, end the tree, back off, again. What
is to be is in `wanted`; `poke` makes the task look at it. It refuses to decide anything that `lifecycle` can decide.
"""

import math
import random
import signal
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Protocol

import trio

from minikube.control.board import Board
from minikube.errors import StartError
from minikube.manifest import ServiceSpec
from minikube.model import Address, CheckState, Instance, InstanceView, ProcessState, Registration
from minikube.probe.health import Outcome, ProbeResult
from minikube.probe.prober import Prober
from minikube.supervisor import lifecycle
from minikube.supervisor.checkup import health_url, registration, watch_health
from minikube.supervisor.lifecycle import Exit, Life
from minikube.supervisor.logs import Capture
from minikube.supervisor.ports import PortTaken
from minikube.supervisor.process import Starved, signal_number
from minikube.supervisor.runtime import Launch, Running, Runtime
from minikube.text import looks_secret

DRAIN_S = 0.5
"""How long the output of a dead process is still read; a survivor may hold the pipe open."""

ACTIVE = (ProcessState.STARTING, ProcessState.RUNNING)


class Home(Protocol):
    """What a runner needs of the supervisor's core."""

    board: Board
    prober: Prober

    def runtime(self, spec: ServiceSpec) -> Runtime: ...
    def taken_ports(self, spec: ServiceSpec, id: str) -> frozenset[int]: ...
    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> Capture: ...
    async def wait_ready(self, name: str, condition: str) -> None: ...
    def recorded(self) -> None: ...
    def link_want(self, id: str, registration: Registration | None) -> None: ...
    def link_known(self, id: str) -> Instance | None: ...
    def link_gone(self, id: str) -> None: ...


def instance_id(project: str, service: str, index: int) -> str:
    """Eight hex digits, the same at every start and every `up` of the project in its directory."""
    return sha256(f"{project}\0{service}\0{index}".encode()).hexdigest()[:8]


class Runner:
    """One replica of a service. All methods but `run` are synchronous."""

    def __init__(self, home: Home, spec: ServiceSpec, index: int, id: str) -> None:
        self.spec = spec
        self.index = index
        self.id = id
        self.name = spec.name if spec.replicas == 1 and index == 1 else f"{spec.name}-{index}"
        self.wanted = True
        self.removed = False
        self.finished = trio.Event()
        self.life = Life()
        self.process: Running | None = None
        self.check: Instance | None = None
        self.host = spec.host
        self.port = spec.port
        self._home = home
        self._own_check: CheckState | None = None
        self._own_output = ""
        self._restart = False
        self._now = False
        self._poke = trio.Event()
        self._since = time.time()
        self._started = 0.0
        self._last_lines: tuple[str, ...] = ()
        self._output: Capture | None = None

    # ------------------------------------------------------------ what the core asks

    def start(self) -> None:
        self.wanted = True
        if self.life.state not in (*ACTIVE, ProcessState.STOPPING):
            self.life = Life(restarts=self.life.restarts, exit=self.life.exit)
        self.poke()

    def stop(self, *, now: bool = False) -> None:
        self.wanted = False
        self._now = self._now or now
        self.poke()

    def restart(self) -> None:
        self.wanted = True
        self._restart = True
        self.poke()

    def remove(self) -> None:
        self.removed = True
        self.stop()

    def poke(self) -> None:
        """The task looks again at what is wanted."""
        self._poke.set()
        self._poke = trio.Event()

    def heard(self, found: Instance | None) -> None:
        """What the registry says of it. An entry older than the process is of an earlier life and counts for nothing."""
        if found is not None and (self.process is None or found.registered < self._started):
            found = None
        before, self.check = self.check, found
        if found is not None and self.process is not None:
            if found.state is CheckState.PASSING:
                self._passed()
            elif found.state is CheckState.CRITICAL and (before is None or before.state is not found.state):
                self.life = lifecycle.failed_check(
                    self.life, trio.current_time(), self._start_period, 0, f"check failed: {found.output}"
                )[0]
        self.publish()

    @property
    def ready(self) -> bool:
        """Whether who depends on it being healthy may start."""
        if self.life.state is not ProcessState.RUNNING:
            return False
        state = self._check_state()
        return state is None or state is CheckState.PASSING

    # ------------------------------------------------------------ the task

    async def run(self) -> None:
        """Returns once it was removed and nothing of it is alive."""
        try:
            while True:
                if self._restart:
                    self._restart = False
                    self._set(lifecycle.restarted(self.life))
                if not self.wanted:
                    if self.life.state not in (ProcessState.EXITED, ProcessState.FATAL):
                        self._set(lifecycle.stopped(self.life))
                    else:
                        self._set(Life(restarts=self.life.restarts, exit=self.life.exit))
                    if self.removed:
                        return
                    await self._poke.wait()
                elif self.life.state in (ProcessState.EXITED, ProcessState.FATAL):
                    await self._poke.wait()
                elif self.life.state is ProcessState.BACKOFF and self.life.next_try > trio.current_time():
                    with trio.move_on_at(self.life.next_try):
                        await self._poke.wait()
                elif await self._dependencies() and await self._prepared():
                    await self._live()
        finally:
            self.finished.set()

    async def _dependencies(self) -> bool:
        """False: interrupted, look again at what is wanted."""
        for name, condition in self.spec.depends_on.items():
            self._set(lifecycle.wait(self.life, f"waiting for {name} to be {condition}"))
            if await self._unless_poked(lambda name=name, how=condition: self._home.wait_ready(name, how)):  # type: ignore[misc]
                return False
        await trio.lowlevel.checkpoint()
        return True

    async def _prepared(self) -> bool:
        """What a start needs (an image) is there. False: interrupted, or in trouble."""
        spec, output, failure = self.spec, self._open_output(), None

        async def prepare() -> None:
            nonlocal failure
            try:
                await self._home.runtime(spec).prepare(
                    spec, output, lambda text: self._set(lifecycle.wait(self.life, text))
                )
            except StartError as error:
                failure = error

        if await self._unless_poked(prepare):
            return False
        if failure is not None:
            self._last_lines = output.last_lines
            self._cannot_start(failure)
        return failure is None

    async def _unless_poked(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """True when the poke came first."""
        poke, poked = self._poke, False
        async with trio.open_nursery() as nursery:

            async def stop_waiting() -> None:
                nonlocal poked
                await poke.wait()
                poked = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop_waiting)
            await wait()
            nursery.cancel_scope.cancel()
        return poked

    async def _live(self) -> None:
        try:
            process, output = await self._begin()
        except StartError as error:
            self._home.link_gone(self.id)
            self._cannot_start(error)
            return
        try:
            await self._watch(process, output)
        finally:
            self.process = None
            process.close()
            self._home.recorded()

    def _cannot_start(self, error: StartError) -> None:
        now, jitter = trio.current_time(), random.uniform(-1, 1)
        if isinstance(error, Starved):
            self._trouble(lifecycle.starved(self.life, self.spec.restart, str(error), now, jitter))
        elif isinstance(error, PortTaken):
            self._trouble(lifecycle.refused(self.life, self.spec.restart, str(error), now, jitter))
        else:
            self._trouble(lifecycle.cannot_execute(self.life, str(error)))

    async def _watch(self, process: Running, output: Capture) -> None:
        readers = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, process, output, readers)
            nursery.start_soon(process.watch)
            nursery.start_soon(watch_health, self.spec, process, output, self._home.prober, self._probed)
            stopped = await self._exit_or_stop(process)
            if stopped and process.exit is None:
                self._set(lifecycle.stopping(self.life))
                self._home.link_gone(self.id)
                await self._stop(process)
                await process.exited.wait()
            assert process.exit is not None
            self._ended(process.exit, stopped)
            # What outlived its command must not hold the port or the log of the next one.
            await process.end(signal.SIGKILL, 0.0)
            with trio.move_on_after(DRAIN_S):
                await readers.wait()
            nursery.cancel_scope.cancel()
        self._last_lines = output.last_lines
        self.publish()

    async def _exit_or_stop(self, process: Running) -> bool:
        """True: it is to be stopped; False: it ended by itself."""
        while self.wanted and not self._restart and process.exit is None:
            poke = self._poke
            async with trio.open_nursery() as nursery:

                async def stop_waiting(event: trio.Event) -> None:
                    await event.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop_waiting, poke)
                nursery.start_soon(stop_waiting, process.exited)
        return process.exit is None

    async def _stop(self, process: Running) -> None:
        spec = self.spec.stop
        number = signal_number(spec.signal)
        end = trio.current_time() + (0.0 if self._now else spec.timeout)
        if spec.command and not self._now:
            await self._before_stop(process, end)
        async with trio.open_nursery() as nursery:

            async def hurry() -> None:
                while not self._now:
                    await self._poke.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(hurry)
            killed = await process.end(number, max(end - trio.current_time(), 0.0))
            nursery.cancel_scope.cancel()
            if killed and not self._now:
                text = f"{self.name}: {len(killed)} processes had to be killed after {spec.timeout:g} s"
                self._home.board.event("instance.killed", text, "warning", service=self.spec.name, instance=self.name)

    async def _before_stop(self, process: Running, end: float) -> None:
        try:
            ran = await process.run(self.spec.stop.command, max(end - trio.current_time(), 0.0))
        except StartError as error:
            self._event("instance.stop_command", f"{self.name}: stop command: {error}", "warning")
            return
        if ran.exit is None or not ran.exit.clean:
            how = ran.exit or "did not end in time"
            self._event("instance.stop_command", f"{self.name}: stop command: {how}", "warning")

    async def _begin(self) -> tuple[Running, Capture]:
        spec, output = self.spec, self._open_output()
        output.clear()
        taken = self._home.taken_ports(spec, self.id)
        launch = Launch(spec, self.id, self.name, self.port, taken, lambda: self._home.link_gone(self.id))
        # It may register itself before its runtime has told us that it runs.
        self._started = time.time()
        self._home.link_want(self.id, None)
        process = await self._home.runtime(spec).start(launch)
        self.process = process
        self.host, self.port = process.host, process.port
        self._own_check = None if spec.health is None else CheckState.STARTING
        self._set(lifecycle.start(self.life, trio.current_time()))
        self._event("instance.started", f"{self.name} started, pid {process.pid}")
        self._home.recorded()
        self._home.link_want(self.id, registration(spec, self.id, self.host, self.port))
        self.heard(self._home.link_known(self.id))
        return process, output

    def _open_output(self) -> Capture:
        spec = self.spec
        secrets = tuple(value for name, value in {**spec.file_env, **spec.env}.items() if looks_secret(name))
        self._output = self._home.capture(spec, self.name, (*secrets, *spec.file_env.values()))
        return self._output

    # ------------------------------------------------------------ is it well?

    def _probed(self, result: ProbeResult) -> bool:
        """What our own probe found. False: nothing has to be probed any more."""
        if result.ended:
            seconds = result.ended - result.began
            self._home.board.tally.probes.note(self.spec.name, result.outcome.value, seconds)
        self._own_output = result.output
        if result.outcome is Outcome.PASS:
            if self.spec.health is not None:
                self._own_check = CheckState.PASSING
            self._passed()
            self.publish()
            return True
        health = self.spec.health
        assert health is not None
        self._own_check = CheckState.CRITICAL if self.life.well else CheckState.STARTING
        self.life, again = lifecycle.failed_check(
            self.life, trio.current_time(), health.start_period, health.restart_after, result.output
        )
        self.publish()
        if again:
            self._event("instance.unhealthy", f"{self.name} restarts: {result.output}", "warning")
            self.restart()
        return not again

    def _passed(self) -> None:
        self.life = lifecycle.passed(self.life)

    @property
    def _start_period(self) -> float:
        return self.spec.health.start_period if self.spec.health else math.inf

    def _check_state(self) -> CheckState | None:
        if self.check is not None:
            return self.check.state
        return self._own_check

    # ------------------------------------------------------------ telling

    async def _read(self, process: Running, output: Capture, done: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.read, process.stdout, "stdout")
            nursery.start_soon(output.read, process.stderr, "stderr")
        done.set()

    def _ended(self, end: Exit, asked: bool) -> None:
        """At once, before anything is cleaned up: who looks it up must not find it any more."""
        self._home.link_gone(self.id)
        self.check, self._own_check = None, None
        self.process = None
        if self._output is not None:
            self._last_lines = self._output.last_lines
        if asked:
            self._set(lifecycle.stopped(self.life, end) if not self._restart else self.life)
            self._event("instance.stopped", f"{self.name} stopped: {end}")
            return
        now = trio.current_time()
        self._trouble(lifecycle.died(self.life, self.spec.restart, end, now, random.uniform(-1, 1)))

    def _trouble(self, life: Life) -> None:
        self._set(life)
        wait = life.next_try - trio.current_time()
        then = f", next try in {wait:.1f} s" if life.state is ProcessState.BACKOFF and wait > 0 else ""
        level = "error" if life.state is ProcessState.FATAL else "info" if life.exit == "exit 0" else "warning"
        text = f"{self.name} {life.state}: {life.reason or life.exit}{then}"
        self._event(f"instance.{life.state}", text, level)

    def _event(self, kind: str, text: str, level: str = "info") -> None:
        self._home.board.event(kind, text, level, service=self.spec.name, instance=self.name)

    def _set(self, life: Life) -> None:
        if life.state is not self.life.state:
            self._since = time.time()
        self.life = life
        self.publish()

    def publish(self) -> None:
        """Puts the instance on the board as it stands."""
        if self.removed and self.finished.is_set():
            return
        life, check = self.life, self.check
        wait = life.next_try - trio.current_time()
        bad = life.state in (ProcessState.BACKOFF, ProcessState.EXITED, ProcessState.FATAL)
        self._home.board.put_instances(
            InstanceView(
                id=self.id,
                service=self.spec.name,
                name=self.name,
                state=life.state,
                check=self._check_state(),
                output=check.output if check else self._own_output,
                check_since=check.since if check else 0.0,
                checked=check.checked if check else 0.0,
                address=str(Address(self.host, self.port)) if self.port else "",
                health=health_url(self.spec, self.host, self.port) if self.port else "",
                pid=self.process.pid if self.process else 0,
                restarts=life.restarts,
                failed_starts=life.failed_starts,
                started=self._started if self.process else 0.0,
                since=self._since,
                exit=life.exit,
                reason=life.reason,
                next_try=time.time() + wait if life.state is ProcessState.BACKOFF and wait > 0 else 0.0,
                last_lines=self._last_lines if bad else (),
            )
        )
