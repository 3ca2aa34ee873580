"""One instance, from its first start to its removal (floor 3): the trio shell round `lifecycle`.

`Runner.run` is one task for the instance's whole time: wait for dependencies, start, watch, end the tree, back off, again. What
is to be is in `wanted`; `poke` makes the task look at it. It refuses to decide anything that `lifecycle`, `verdict`,
`dependency` or `view` can decide, and to know what runs it (`runtime`) and how it is stopped (`stopping`).

Longer than most files: one life is one story, and every wait in it ends at the same poke.
"""

import random
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Protocol

import trio
from msgspec.structs import replace

from minikube.errors import StartError
from minikube.manifest import ServiceSpec
from minikube.model import Address, Instance, InstanceView, ProcessState
from minikube.supervisor import lifecycle, view, wellbeing
from minikube.supervisor.beginning import Beginning
from minikube.supervisor.checkup import check_text
from minikube.supervisor.dependency import ACTIVE, Standing
from minikube.supervisor.lifecycle import Exit, Life
from minikube.supervisor.logs import Capture
from minikube.supervisor.ports import PortTaken
from minikube.supervisor.process import Starved, told, understood
from minikube.supervisor.runtime import Launch, Running, Runtime
from minikube.supervisor.stopping import end_instance
from minikube.supervisor.wellbeing import Wellbeing
from minikube.text import secrets_in

DRAIN_S = 1.0
"""How long the output of a dead process is still read: a pipe holds a megabyte, and a survivor may hold it open."""

ENDED = (ProcessState.BACKOFF, ProcessState.EXITED, ProcessState.FATAL)


class Home(wellbeing.Home, Protocol):
    """What a runner needs of the supervisor's core."""

    ending: bool
    """Everything is being stopped."""

    def runtime(self, spec: ServiceSpec) -> Runtime: ...
    def taken_ports(self, id: str) -> frozenset[int]: ...
    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> Capture: ...
    def unmet(self, spec: ServiceSpec) -> str: ...
    def recorded(self) -> None: ...
    def next_run(self, name: str) -> float: ...
    def link_begun(self, id: str, since: Beginning) -> None: ...
    def link_known(self, id: str) -> Instance | None: ...
    async def link_left(self, id: str) -> bool: ...


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
        self.resting = False
        """Whether its schedule does not count, because it was stopped by hand."""
        self.removed = False
        self.finished = trio.Event()
        self.life = Life()
        self.process: Running | None = None
        self.host = spec.host
        self.port = spec.port
        self._home = home
        self.wellbeing = Wellbeing(home, self)
        self._unwell = ""
        """Why it is ended by us, to be started again; empty otherwise."""
        self._restart = False
        self._hurry = trio.Event()
        self._drained = trio.Event()
        """Set once the output of the last life has been read."""
        self._drained.set()
        self._poke = trio.Event()
        self._since = time.time()
        self._begun = Beginning(0.0, 0.0)
        self._last_lines: tuple[str, ...] = ()
        self._output: Capture | None = None

    # ------------------------------------------------------------ what the core asks

    def start(self) -> None:
        if self._home.ending or self.removed:
            return  # a roll-out or an apply goes on meanwhile: nothing is begun any more
        self.wanted, self.resting = True, False
        if self.life.state not in (*ACTIVE, ProcessState.STOPPING):
            self.life = Life(restarts=self.life.restarts, exit=self.life.exit)
        self.poke()

    def stop(self, *, now: bool = False) -> None:
        self.wanted, self.resting = False, True
        if now:
            self._hurry.set()
        self.poke()

    def restart(self) -> None:
        if self._home.ending or self.removed:
            return
        self.wanted, self.resting = True, False
        self._restart = True
        self.poke()

    def remove(self) -> None:
        self.removed = True
        self.stop()

    def adjust(self, spec: ServiceSpec) -> None:
        """The manifest says something else: what a running process can follow holds from now on."""
        before, self.spec = self.spec, spec
        if self._output is not None:
            self._output.spec = spec.logs
        if self.process is None:
            self.host, self.port = spec.host, spec.port
        else:
            self.wellbeing.adjust(before)
        self.poke()  # perhaps it waits for something that it does not depend on any more
        self.publish()

    def poke(self) -> None:
        """The task looks again at what is wanted."""
        self._poke.set()
        self._poke = trio.Event()

    def heard(self, found: Instance | None) -> None:
        """What the registry says of it. An entry older than the process is of an earlier life and counts for nothing."""
        now = (time.time(), trio.current_time())
        if found is not None and (self.process is None or self._begun.is_after(found, *now)):
            found = None
        self.wellbeing.heard(found)
        self.publish()

    @property
    def ready(self) -> bool:
        """Whether who depends on it being healthy may start: it is well, and found where it is to be found."""
        return self.life.state is ProcessState.RUNNING and self.wellbeing.found

    @property
    def standing(self) -> Standing:
        """What its dependents ask about."""
        why = self.wellbeing.why(self.life) or (str(self.life.exit or "") if self.life.state in ENDED else "")
        return Standing(self.name, self.life.state, self.ready, self.life.completed, why)

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
        """Waits until all are met at the same time. False: interrupted, look again at what is wanted."""
        while reason := self._home.unmet(self.spec):
            self._set(lifecycle.wait(self.life, reason))
            if await self._poked_before_change():
                return False
        self._set(lifecycle.wait(self.life, ""))  # who stops it waits until what begins here is undone
        await trio.lowlevel.checkpoint()
        return True

    async def _poked_before_change(self) -> bool:
        """Returns at the next change of the board or poke; True when there was a poke, be it at the same moment."""
        revision = self._home.board.revision
        return await self._unless_poked(lambda: self._home.board.wait_past(revision))

    async def _prepared(self) -> bool:
        """What a start needs (an image) is there. False: interrupted, or in trouble."""
        spec, output, failure = self.spec, self._open_output(), None

        async def prepare() -> None:
            nonlocal failure
            try:
                await self._home.runtime(spec).prepare(
                    spec, output, lambda text: self._set(lifecycle.wait(self.life, text))
                )
            except Exception as error:
                failure = error

        if await self._unless_poked(prepare):
            return False
        if failure is not None:
            self._last_lines = output.last_lines
            self._cannot_start(failure)
        return failure is None

    async def _unless_poked(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """True when a poke interrupted it, or came at the same moment: nobody else will look at what it was for."""
        poke = self._poke
        async with trio.open_nursery() as nursery:

            async def stop_waiting() -> None:
                await poke.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop_waiting)
            await wait()
            nursery.cancel_scope.cancel()
        return poke.is_set()

    async def _live(self) -> None:
        begun: tuple[Running, Capture] | None = None
        failure: Exception | None = None
        self._hurry = trio.Event()

        async def begin() -> None:
            nonlocal begun, failure
            try:
                begun = await self._begin()
            except Exception as error:
                failure = error

        await self._unless_poked(begin)
        if begun is None:
            self._home.link_gone(self.id)
            if failure is not None:
                self._cannot_start(failure)
            return
        process, output = begun
        try:
            await self._watch(process, output)
        except Exception as error:
            await self._lost(process, error)
        finally:
            self.process = None
            process.close()
            self._home.recorded()

    async def _lost(self, process: Running, error: Exception) -> None:
        """We cannot follow what runs any more: it is ended, and there is another try."""
        self._home.link_gone(self.id)
        self.wellbeing.begin()
        self._unwell = ""
        with trio.CancelScope(shield=True):
            try:
                await process.end(signal.SIGKILL, 0.0)
                with trio.move_on_after(DRAIN_S):
                    await process.watch()
            except Exception:
                traceback.print_exc()
        self._cannot_start(error)

    def _cannot_start(self, error: Exception) -> None:
        now, jitter = trio.current_time(), random.uniform(-1, 1)
        error = understood(error)
        if isinstance(error, Starved):
            self._trouble(lifecycle.starved(self.life, self.spec.restart, str(error), now, jitter))
        elif isinstance(error, StartError) and not isinstance(error, PortTaken):
            self._trouble(lifecycle.cannot_execute(self.life, str(error)))
        else:
            if not isinstance(error, StartError):  # a defect of ours ends one life, not the project
                traceback.print_exception(error)
            self._trouble(lifecycle.refused(self.life, self.spec.restart, told(error), now, jitter))

    async def _begin(self) -> tuple[Running, Capture]:
        spec, output = self.spec, self._open_output()
        output.clear()
        taken = self._home.taken_ports(self.id)
        launch = Launch(spec, self.id, self.name, self.port, taken, self._gone)
        # It may register itself before its runtime has told us that it runs.
        known = self._home.link_known(self.id)
        self._begun = Beginning(time.time(), trio.current_time(), known.incarnation if known else 0)
        self.wellbeing.begin()
        self._home.link_begun(self.id, self._begun)
        process = await self._home.runtime(spec).start(launch)
        self.process = process
        self.host, self.port = process.host, process.port
        output.mask(self._secrets(process.env))
        self._set(lifecycle.start(self.life, trio.current_time()))
        self.event("instance.started", f"started, pid {process.pid}" if process.pid else "started")
        self._home.recorded()
        self.wellbeing.register()
        self.heard(self._home.link_known(self.id))
        return process, output

    def _gone(self) -> None:
        """It is dead; how it died may be known only later, where somebody else has to tell."""
        self._home.link_gone(self.id)
        if self.life.state is ProcessState.STOPPING:
            self._stopping("it has ended; its engine has not told how, or removed it, yet")

    def _open_output(self) -> Capture:
        spec = self.spec
        self._output = self._home.capture(spec, self.name, self._secrets(spec.env))
        return self._output

    def _secrets(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Of all that it was given: what the manifest says, what it inherits, and where registry and Redis are."""
        return (*secrets_in(env), *self.spec.file_env.values())

    async def _watch(self, process: Running, output: Capture) -> None:
        readers = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, process, output, readers)
            nursery.start_soon(process.watch)
            checking = trio.CancelScope()
            nursery.start_soon(self._check_up, process, output, checking)
            await self._exit_or_stop(process)
            checking.cancel()
            stopped = process.exit is None
            if stopped:
                await self._stop(process)
                await process.exited.wait()
            assert process.exit is not None
            self._drained = trio.Event()
            try:
                self._ended(process.exit, stopped)
                # What outlived its command must not hold the port or the log of the next one.
                await process.end(signal.SIGKILL, 0.0)
                with trio.move_on_after(DRAIN_S):
                    await readers.wait()
            finally:
                self._drained.set()
            nursery.cancel_scope.cancel()
        self._last_lines = output.last_lines
        self.publish()

    async def wait_drained(self) -> None:
        """Returns once what its ended process printed has been read: its end may be the end of everything."""
        await self._drained.wait()

    async def _exit_or_stop(self, process: Running) -> None:
        """Returns when it has ended or is to be stopped."""
        while self.wanted and not self._restart and not self._unwell and process.exit is None:
            poke = self._poke
            async with trio.open_nursery() as nursery:

                async def stop_waiting(event: trio.Event) -> None:
                    await event.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop_waiting, poke)
                nursery.start_soon(stop_waiting, process.exited)

    async def _stop(self, process: Running) -> None:
        """Out of discovery first, a moment for requests that are on their way, then the signal."""
        self._stopping("it leaves discovery")
        drain = self.spec.stop.drain
        was_found = await self._home.link_left(self.id)
        if was_found and drain and not self._home.ending and not self._unwell and not self._hurry.is_set():
            self._stopping(f"it finishes what it was asked, for {drain:g} s")
            with trio.move_on_after(drain):
                await self._hurry.wait()
        await end_instance(process, self.spec.stop, self._hurry, self._stopping, self.event)

    # ------------------------------------------------------------ what its checks come to

    async def _check_up(self, process: Running, output: Capture, scope: trio.CancelScope) -> None:
        with scope:
            await self.wellbeing.check_up(process, output)

    def passed(self) -> None:
        self.life = lifecycle.passed(self.life)

    def hung(self, reason: str) -> None:
        self._unwell = reason
        self.event("instance.unhealthy", f"restarts: {reason}", "warning")
        self.poke()

    # ------------------------------------------------------------ telling

    async def _read(self, process: Running, output: Capture, done: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.read, process.stdout, "stdout")
            nursery.start_soon(output.read, process.stderr, "stderr")
        done.set()

    def _ended(self, end: Exit, asked: bool) -> None:
        """At once, before anything is cleaned up: who looks it up must not find it any more."""
        self._home.link_gone(self.id)
        self.wellbeing.begin()
        self.process = None
        unwell, self._unwell = self._unwell, ""
        if self._output is not None:
            self._last_lines = self._output.last_lines
        if asked and (self._restart or not self.wanted or not unwell):
            self._set(lifecycle.stopped(self.life, end) if not self._restart else self.life)
            self.event("instance.stopped", f"stopped: {end}")
            return
        now, jitter = trio.current_time(), random.uniform(-1, 1)
        self._trouble(lifecycle.died(self.life, self.spec.restart, end, now, jitter, unwell if asked else ""))

    def _trouble(self, life: Life) -> None:
        self._set(life)
        wait = life.next_try - trio.current_time()
        then = f", next try in {wait:.1f} s" if life.state is ProcessState.BACKOFF and wait > 0 else ""
        last = view.last_line(self._last_lines) if life.state is ProcessState.FATAL and life.exit else ""
        level = "error" if life.state is ProcessState.FATAL else "info" if life.completed else "warning"
        text = f"{life.state}: {life.reason or life.exit}{then}" + (f" — last line: {last}" if last else "")
        self.event(f"instance.{life.state}", text, level)

    def event(self, kind: str, text: str, level: str = "info") -> None:
        self._home.board.event(kind, f"{self.name} {text}", level, service=self.spec.name, instance=self.name)

    def _stopping(self, how: str) -> None:
        self._set(lifecycle.stopping(self.life, how))

    def _set(self, life: Life) -> None:
        if life.state is not self.life.state:
            self._since = time.time()
        self.life = life
        self.publish()

    def publish(self) -> None:
        """Puts the instance on the board as it stands."""
        if self.removed and self.finished.is_set():
            return
        life, well = self.life, self.wellbeing
        shown = InstanceView(
            id=self.id,
            service=self.spec.name,
            name=self.name,
            state=life.state,
            check=well.state,
            output=well.output,
            check_since=well.since,
            checked=well.checked,
            address=str(Address(self.host, self.port)) if self.port else "",
            health=check_text(self.spec, self.host, self.port),
            pid=self.process.pid if self.process else 0,
            restarts=life.restarts,
            failed_starts=life.failed_starts,
            started=self._begun.wall if self.process else 0.0,
            since=self._since,
            exit=str(life.exit or ""),
            reason=well.why(life),
            next_run=self._home.next_run(self.spec.name) if self.spec.schedule and not self.resting else 0.0,
        )
        if life.state in ENDED:
            wait = life.next_try - trio.current_time() if life.state is ProcessState.BACKOFF else 0.0
            shown = replace(shown, last_lines=self._last_lines, next_try=time.time() + wait if wait > 0 else 0.0)
        self._home.board.put_instances(shown)
