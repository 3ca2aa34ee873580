"""One instance, from its first start to its removal (floor 3): the trio shell round `wish` and `lifecycle`.

`InstanceController.run` is one task for the instance's whole time: wait for dependencies, start, watch, end the tree, back off, again. What
is to be is in `wish`; `poke` makes the task look at it. It refuses to decide anything that `wish`, `lifecycle`, `failure`,
`verdict`, `dependency` or `view` can decide, and to know what runs it (`runtime`) and how it is stopped (`stopping`).
It is one piece past 400 lines, because what is asked of it and the task that does it share every field.
"""

import random
import signal
import time
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import trio

from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.model import Instance, ProcessState
from minikube.project import graph
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance import desired_state as wishes
from minikube.supervisor.instance import lifecycle, start_errors
from minikube.supervisor.instance import summary as view
from minikube.supervisor.instance.conditions import DependencyStatus
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.instance.status import instance_view
from minikube.supervisor.instance.termination import end_instance
from minikube.supervisor.readiness import readiness as wellbeing
from minikube.supervisor.readiness.generation import Generation
from minikube.supervisor.readiness.readiness import Readiness
from minikube.supervisor.runtime import failures
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import Launch, Running, Runtime
from minikube.text import secrets_in

DRAIN_S = 1.0
"""How long the output of a dead process is still read: a pipe holds a megabyte, and a survivor may hold it open."""


class Home(wellbeing.Home, Protocol):
    """What a runner needs of the supervisor's core."""

    at_once: CancelEvent
    """Nobody has time any more: whatever is being stopped ends now."""
    ending: CancelEvent
    """Everything is being stopped: nothing begins, and nobody is waited for who could only be asked to go on."""

    def runtime(self, spec: ServiceSpec) -> Runtime: ...
    def taken_ports(self, id: str) -> frozenset[int]: ...
    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> InstanceLog: ...
    def unmet(self, spec: ServiceSpec) -> str: ...
    def recorded(self) -> None: ...
    def next_run(self, name: str) -> float: ...


class InstanceController:
    """One replica of a service. What is asked of it is synchronous."""

    def __init__(self, home: Home, spec: ServiceSpec, index: int, id: str, wish: DesiredState) -> None:
        self.spec = spec
        self.id = id
        self.name = spec.name if spec.replicas == 1 and index == 1 else f"{spec.name}-{index}"
        self.wish = wish
        self.life = InstanceState()
        self.finished = trio.Event()
        self.process: Running | None = None
        self.launched = spec
        """What its process, where it has one, was started as."""
        self.host = spec.host
        self.port = spec.port
        self.wellbeing = Readiness(home, self)
        self.begun = Generation(0.0, 0.0)
        self.since = time.time()
        self.last_lines: tuple[str, ...] = ()
        self._home = home
        self._poke = CancelEvent()
        self._output: InstanceLog | None = None
        self._checking = trio.CancelScope()
        """Round the checks of the present life; cancelled once nobody is to hear of them any more."""
        self._drained = trio.Event()
        """Set once the output of the last life has been read."""
        self._drained.set()

    # ------------------------------------------------------------ what the core asks

    def start(self) -> None:
        if self._home.ending.is_set():
            return  # a roll-out or an apply goes on meanwhile: nothing is begun any more
        life = lifecycle.forgiven(self.life, self.wish)
        self._want(wishes.started(self.wish))
        if life != self.life:
            self._set(life)
            self.poke()

    def stop(self) -> None:
        self._want(wishes.stopped(self.wish))

    def restart(self) -> None:
        if not self._home.ending.is_set():
            self._want(wishes.restarted(self.wish))

    def remove(self) -> None:
        self._want(wishes.removed(self.wish))

    def queue(self) -> None:
        """To be restarted when its turn comes; until then it goes on as it does."""
        self.wish = wishes.queued(self.wish)

    def leave_alone(self) -> None:
        self.wish = wishes.left_alone(self.wish)

    def rest_as(self, before: DesiredState) -> None:
        """It was stopped for a moment: its schedule counts again if it did by that wish."""
        self.wish = wishes.resting_as(self.wish, before)

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
        poke, self._poke = self._poke, CancelEvent()
        poke.set()

    def _want(self, wish: DesiredState) -> None:
        if wish != self.wish:  # who asks again for what begins already does not make it begin anew
            self.wish = wish
            self.poke()

    def heard(self, found: Instance | None) -> None:
        """What the registry says of it. An entry older than the process is of an earlier life and counts for nothing."""
        now = (time.time(), trio.current_time())
        if found is not None and (self.process is None or self.begun.is_after(found, *now)):
            found = None
        self.wellbeing.heard(found)
        self.publish()

    # ------------------------------------------------------------ how it stands

    @property
    def ready(self) -> bool:
        """Whether who depends on it being healthy may start: it is well, and found where it is to be found."""
        return self.life.state is ProcessState.RUNNING and self.wellbeing.found

    @property
    def outdated(self) -> bool:
        """Whether what runs is not what the manifest says now, and can become it by a restart alone."""
        return self.process is not None and not graph.goes_on(self.launched, self.spec)

    @property
    def standing(self) -> DependencyStatus:
        """What its dependents ask about."""
        why = self.wellbeing.why(self.life) or (str(self.life.exit or "") if self.life.state.has_ended else "")
        return DependencyStatus(self.name, self.life.state, self.ready, self.life.completed, why)

    @property
    def is_down(self) -> bool:
        """Nothing of it is alive, nor about to be."""
        state = self.life.state
        return self.process is None and not (state.has_process or state is ProcessState.PENDING)

    async def wait_down(self) -> None:
        """Returns once it is down and what it printed has been read: its end may be the end of everything. Sooner where it is
        wanted again meanwhile."""
        await self._home.board.wait_for(lambda _: self.is_down or self.wish.runs)
        await self._drained.wait()

    # ------------------------------------------------------------ the task

    async def run(self) -> None:
        """Returns once it was removed and nothing of it is alive."""
        try:
            while True:
                poke = self._poke  # one for the whole round: what is asked from here on is seen wherever it has come to
                self._set(lifecycle.between(self.life, self.wish))
                self.wish = wishes.taken_up(self.wish)
                if self.wish.removed:
                    return
                due = lifecycle.due(self.life, self.wish)
                if due > trio.current_time():
                    with trio.move_on_at(due):
                        await poke.wait()
                elif await self._dependencies(poke) and await self._prepared(poke):
                    await self._live(poke)
        finally:
            self.finished.set()

    async def _dependencies(self, poke: CancelEvent) -> bool:
        """Waits until all are met at the same time. False: interrupted, look again at what is wanted."""
        while reason := self._home.unmet(self.spec):
            self._set(lifecycle.wait(self.life, reason))
            revision = self._home.board.revision
            with poke.cancels():
                await self._home.board.wait_past(revision)
            if poke.is_set():
                return False
        self._set(lifecycle.wait(self.life, ""))  # who stops it waits until what begins here is undone
        await trio.lowlevel.checkpoint()
        return not poke.is_set()

    async def _prepared(self, poke: CancelEvent) -> bool:
        """What a start needs (an image) is there. False: interrupted, or in trouble."""
        spec, output = self.spec, self._open_output()
        try:
            with poke.cancels():
                await self._home.runtime(spec).prepare(
                    spec, output, lambda text: self._set(lifecycle.wait(self.life, text))
                )
        except Exception as error:
            self.last_lines = output.last_lines
            self._cannot_start(error, poke)
            return False
        return not poke.is_set()

    async def _live(self, poke: CancelEvent) -> None:
        process = None
        try:
            with poke.cancels():
                process = await self._begin()
        except Exception as error:
            self._home.link.gone(self.id)
            self._cannot_start(error, poke)
            return
        if process is None:
            self._home.link.gone(self.id)
            return
        self.process = process
        try:
            self._has_begun(process)
            await self._watch(process)
        except Exception as error:
            await self._lost(process, error)
        finally:
            self.process = None
            process.close()
            self._home.recorded()

    async def _lost(self, process: Running, error: Exception) -> None:
        """We cannot follow what runs any more: it is ended, and there is another try. Where it had ended already, and what failed
        is tidying up after it, its end counts as it is."""
        is_judged = self.process is None
        self._checking.cancel()
        self._home.link.gone(self.id)
        self.wellbeing.begin()
        self.wish = wishes.life_ended(self.wish)
        with trio.CancelScope(shield=True):
            try:
                await process.end(signal.SIGKILL, 0.0)
                with trio.move_on_after(DRAIN_S):
                    await process.watch()
            except Exception:
                traceback.print_exc()
        if not is_judged:
            self._cannot_start(error)
            return
        traceback.print_exception(error)
        if self.life.state is ProcessState.FATAL:
            self._tell_trouble(self.life)

    def _cannot_start(self, error: Exception, poke: CancelEvent | None = None) -> None:
        """Where something else was asked for meanwhile (`poke`), it is nobody's failed start."""
        error = failures.classify(error)
        if failures.is_defect(error):
            traceback.print_exception(error)
        if poke is not None and poke.is_set():
            return
        now, jitter = trio.current_time(), random.uniform(-1, 1)
        self._set(start_errors.state_after(error, self.life, self.spec.restart, now, jitter))
        self._tell_trouble(self.life)

    async def _begin(self) -> Running:
        """When cancelled, the start is undone, or completed."""
        spec, output = self.spec, self._open_output()
        self.wish = wishes.begun(self.wish)
        output.clear()
        taken = partial(self._home.taken_ports, self.id)
        launch = Launch(spec, self.id, self.name, self.port, taken, self._gone)
        # It may register itself before its runtime has told us that it runs.
        known = self._home.link.known(self.id)
        self.begun = Generation(time.time(), trio.current_time(), known.incarnation if known else 0)
        self.wellbeing.begin()
        self._home.link.begun(self.id, self.begun)
        self.launched = spec
        return await self._home.runtime(spec).start(launch)

    def _has_begun(self, process: Running) -> None:
        output = self._output
        assert output is not None
        self.host, self.port = process.host, process.port
        output.mask(self._secrets(process.env))
        self._set(lifecycle.start(self.life, trio.current_time()))
        self.event("instance.started", f"started, pid {process.pid}" if process.pid else "started")
        self._home.recorded()
        self.wellbeing.register()
        self.heard(self._home.link.known(self.id))

    def _gone(self) -> None:
        """It is dead; how it died may be known only later, where somebody else has to tell."""
        self._checking.cancel()
        self._home.link.gone(self.id)
        if self.life.state is ProcessState.STOPPING:
            self._stopping("it has ended; its engine has not told how, or removed it, yet")

    def _open_output(self) -> InstanceLog:
        spec = self.spec
        self._output = self._home.capture(spec, self.name, self._secrets(spec.env))
        return self._output

    def _secrets(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Of all that it was given: what the manifest says, what it inherits, and where registry and Redis are."""
        return (*secrets_in(env), *self.spec.file_env.values())

    async def _watch(self, process: Running) -> None:
        output, readers = self._output, trio.Event()
        assert output is not None
        self._checking = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, process, output, readers)
            nursery.start_soon(process.watch)
            nursery.start_soon(self.wellbeing.check_up, process, output, self._checking)
            while not self.wish.ends_life and process.exit is None:
                with self._poke.cancels():
                    await process.exited.wait()
            self._checking.cancel()
            by_us = process.exit is None
            if by_us:
                await self._stop(process)
                await process.exited.wait()
            assert process.exit is not None
            self._drained = trio.Event()
            try:
                self._ended(process.exit, by_us)
                life = self.life
                # What outlived its command must not hold the port or the log of the next one.
                await process.end(signal.SIGKILL, 0.0)
                with trio.move_on_after(DRAIN_S):
                    await readers.wait()
            finally:
                self._drained.set()
            nursery.cancel_scope.cancel()
        self.last_lines = output.last_lines
        self.publish()
        if life.state is ProcessState.FATAL:  # now it is known what it said last
            self._tell_trouble(life)

    async def _stop(self, process: Running) -> None:
        """Out of discovery first, a moment for requests that are on their way, then the signal."""
        self._stopping("it leaves discovery")
        was_found, drain, hurry, ending = False, self.spec.stop.drain, self._home.at_once, self._home.ending
        with hurry.cancels():
            was_found = await self._home.link.left(self.id)
        if was_found and drain and not ending.is_set() and not self.wish.unwell:
            self._stopping(f"it finishes what it was asked, for {drain:g} s")
            with trio.move_on_after(drain), hurry.cancels():
                await ending.wait()
        assert self._output is not None
        await end_instance(process, self.spec.stop, hurry, self._stopping, self.event, self._output.insert)

    # ------------------------------------------------------------ what its checks come to

    def passed(self) -> None:
        self.life = lifecycle.passed(self.life)

    def hung(self, reason: str) -> None:
        self.event("instance.unhealthy", f"restarts: {reason}", "warning")
        self._want(wishes.failing(self.wish, reason))

    # ------------------------------------------------------------ telling

    def _ended(self, end: Exit, by_us: bool) -> None:
        """At once, before anything is cleaned up: who looks it up must not find it any more."""
        self._home.link.gone(self.id)
        self.wellbeing.begin()
        self.process = None
        if self._output is not None:
            self.last_lines = self._output.last_lines
        wish, self.wish = self.wish, wishes.life_ended(self.wish)
        policy, now, jitter = self.spec.restart, trio.current_time(), random.uniform(-1, 1)
        if by_us:
            self._set(lifecycle.ended(self.life, wish, policy, end, now, jitter))
        else:
            self._set(lifecycle.died(self.life, policy, end, now, jitter))
        if by_us and not wish.is_failure:
            self.event("instance.stopped", f"stopped: {end}")
        elif self.life.state is not ProcessState.FATAL:
            self._tell_trouble(self.life)

    def _tell_trouble(self, life: InstanceState) -> None:
        wait = life.next_try - trio.current_time()
        then = f", next try in {wait:.1f} s" if life.state is ProcessState.BACKOFF and wait > 0 else ""
        last = view.last_line(self.last_lines) if life.state is ProcessState.FATAL and life.exit else ""
        level = "error" if life.state is ProcessState.FATAL else "info" if life.completed else "warning"
        text = f"{life.state}: {life.reason or life.exit}{then}" + (f" — last line: {last}" if last else "")
        self.event(f"instance.{life.state}", text, level)

    def event(self, kind: str, text: str, level: str = "info") -> None:
        self._home.board.event(kind, f"{self.name} {text}", level, service=self.spec.name, instance=self.name)

    def _stopping(self, how: str) -> None:
        self._set(lifecycle.stopping(self.life, how))

    def _set(self, life: InstanceState) -> None:
        if life.state is not self.life.state:
            self.since = time.time()
        self.life = life
        self.publish()

    def publish(self) -> None:
        """Puts the instance on the board as it stands."""
        if self.wish.removed and self.finished.is_set():
            return
        next_run = self._home.next_run(self.spec.name) if self.spec.schedule and not self.wish.rests else 0.0
        self._home.board.put_instances(instance_view(self, next_run, time.time(), trio.current_time()))


async def _read(process: Running, output: InstanceLog, done: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.read, process.stdout, "stdout")
        nursery.start_soon(output.read, process.stderr, "stderr")
    done.set()
