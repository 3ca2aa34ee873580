"""The engine's command, run for one question or for a container's whole life (floor 3).

Every client is a child of the supervisor like any other, so that nothing of it outlives us. An engine that hangs costs
one patience, not one for each question: a question that is open for long makes us look whether it answers at all. It
refuses to know what a container is for.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NoReturn

import trio

from minikube.engine.engine import Engine, client_environment, complaint, is_unreachable
from minikube.errors import ResourceExhausted, StartError
from minikube.logs.instance_log import InstanceLog
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.pipes import chunks, collect
from minikube.supervisor.runtime.process.process import HELPER, Command, Process, ProcessTable

ASK_S = 30.0
"""For one question. An engine under load takes seconds; one that hangs must not hold a stop for ever."""

DOUBT_S = 1.0
"""A question that is open for that long raises the doubt whether the engine answers at all."""

LOOK_S = 2.0
"""Who lists no containers in that time is silent. A busy engine takes some tenths of a second for it, its command included."""

LOOK_AGAIN_S = 1.0
ANSWER_STEP_S = 0.05

ANSWER_LIMIT = 262_144
REAP_S = 1.0

Say = Callable[[str, str], object]
"""Hears what is new with the engine: text, level."""


class EngineReply:
    """What a client printed, and how it ended (None: it took too long and was killed, or was `refused`)."""

    def __init__(self, refused: StartError | None = None) -> None:
        self.refused = refused
        """Why the client could not even be started."""
        self.exit: Exit | None = None
        self.out = bytearray()
        self.err = bytearray()

    @property
    def good(self) -> bool:
        return self.exit is not None and self.exit.status == 0

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace").strip()

    @property
    def error(self) -> str:
        return self.err.decode("utf-8", "replace").strip()


class EngineClient:
    """One engine, asked by one supervisor."""

    def __init__(
        self, household: ProcessTable, engine: Engine, directory: Path, say: Say = lambda _text, _level: None
    ) -> None:
        self.engine = engine
        self.household = household
        self.silent = False
        """Whether it did not answer when we looked last."""
        self._directory = directory
        self._say = say
        self._count = 0
        self._looking = trio.Lock()
        self._looked = -1.0
        self._watched = False

    async def ask(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = ASK_S, insist: bool = True
    ) -> EngineReply:
        """Runs one command to its end, at most `timeout` seconds. Failures are in the answer.

        Without `insist` it is given up as soon as the engine is found silent.
        """
        if not insist and self.silent and self._watched:
            await trio.lowlevel.checkpoint()
            return EngineReply()
        try:
            process = await self.begin(*arguments, env=env)
        except StartError as error:
            return EngineReply(error)
        answer = EngineReply()

        async def hear() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, process.stdout, answer.out, ANSWER_LIMIT)
                nursery.start_soon(collect, process.stderr, answer.err, ANSWER_LIMIT)
                answer.exit = await process.watch()

        try:
            if insist:
                with trio.move_on_after(timeout):
                    await hear()
            else:
                await self.patiently(timeout, hear)
        finally:
            await self.end(process)
        return answer

    async def patiently(self, seconds: float, wait: Callable[[], Awaitable[object]]) -> None:
        """Waits that long for what the engine has to bring about, or until it is found silent."""
        with trio.move_on_after(seconds) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_up, patience)
                await wait()
                nursery.cancel_scope.cancel()

    async def _give_up(self, patience: trio.CancelScope) -> None:
        if not self.silent:
            await trio.sleep(DOUBT_S)
        while True:
            if not self._watched:
                await self._look()
            if self.silent:
                patience.cancel()
            await trio.sleep(LOOK_AGAIN_S)

    async def watch(self) -> NoReturn:
        """Looks again and again whether the engine answers: whoever wants to know is told at once meanwhile."""
        try:
            while True:
                await self._look()
                self._watched = True
                await trio.sleep(LOOK_AGAIN_S)
        finally:
            self._watched = False

    async def wait_answer(self) -> None:
        """Returns once the engine answers again. Somebody has to `watch`."""
        while self.silent:
            await trio.sleep(ANSWER_STEP_S)

    async def _look(self) -> None:
        """Those who doubt at the same time share one look."""
        began = trio.current_time()
        async with self._looking:
            if self._looked >= began:
                return
            answer = await self.ask("ps", "--quiet", "--filter", f"label={self.engine.label}", timeout=LOOK_S)
            self._looked = trio.current_time()
            if answer.refused is None and answer.good is self.silent:
                self.silent = not answer.good
                again = "answers again" if answer.good else "does not answer — it is not waited for"
                self._say(f"{self.engine.kind} {again}", "info" if answer.good else "warning")

    async def need(self, what: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """As `ask`, for what has to work: its output. Raises `ResourceExhausted` while the engine does not answer, else `StartError`."""
        answer = await self.ask(*arguments, env=env)
        if answer.good:
            return answer.text
        raise self.failure(what, answer)

    async def show(self, output: InstanceLog, *arguments: str, env: Mapping[str, str] | None = None) -> EngineReply:
        """Runs a command that takes its time (a pull, a build), its lines in the instance's output as they come."""
        process = await self.begin(*arguments, env=env)
        answer = EngineReply()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(output.read, process.stdout, "stdout")
                nursery.start_soon(_collect_and_show, process.stderr, answer.err, output)
                answer.exit = await process.watch()
        finally:
            await self.end(process)
        return answer

    def failure(self, what: str, answer: EngineReply) -> StartError:
        """One line that says what the engine said."""
        kind = self.engine.kind
        if answer.refused is not None:
            again = isinstance(answer.refused, ResourceExhausted)
            return (ResourceExhausted if again else StartError)(f"{what}: {answer.refused}")
        if answer.exit is None:
            within = "" if self.silent else f" in {ASK_S:g} s"
            return ResourceExhausted(f"{what}: {kind} did not answer{within} — trying again")
        if is_unreachable(answer.error):
            return ResourceExhausted(f"{what}: {kind}'s engine does not answer ({complaint(answer.error)}) — start it")
        return StartError(f"{what}: {complaint(answer.error or answer.text)}")

    async def begin(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Starts a command; `end` has to follow. Raises as `ProcessTable.start`."""
        self._count += 1
        owner = f"{self.engine.kind}.{self._count}"
        environment = {**client_environment(os.environ), **(env or {}), HELPER: owner}
        argv = (self.engine.program, *arguments)
        return await self.household.start(Command(argv, environment, self._directory, owner))

    async def end(self, process: Process) -> None:
        """Whatever is left of it is killed; its descriptors are given back."""
        with trio.move_on_after(REAP_S, shield=True):
            if process.exit is None:
                await self.household.end(process.owner, signal.SIGKILL, 0.0)
                await process.watch()
        self.household.forget(process)


async def _collect_and_show(descriptor: int, into: bytearray, output: InstanceLog) -> None:
    """What went wrong is said on stderr; in the output it would be mixed with the lines of stdout."""
    async for data in chunks(descriptor):
        output.feed("stderr", data)
        into += data
        del into[:-ANSWER_LIMIT]
    output.finish("stderr")
