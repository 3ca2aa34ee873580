"""Run the engine's command (`docker`, `podman`, `nerdctl`): short requests, pulls and builds, or attached to a container.

Every command is a child of the supervisor, so none outlives it. An engine that hangs costs one time-out, not one for each
request: while a request takes long, the engine is probed, and all requests to an unresponsive engine are given up together.
It refuses to know about services and instances.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NoReturn

import trio

from minikube.engine.command import Engine, client_environment, error_line, is_unreachable
from minikube.engine.networks import lacks_network
from minikube.errors import ResourceExhausted, StartError
from minikube.logs.instance_log import InstanceLog
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.pipes import chunks, collect
from minikube.supervisor.runtime.process.fork_exec import Command
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import HELPER_ENV, ProcessTable

COMMAND_TIMEOUT_S = 30.0
"""For one request. An engine under load takes seconds; an engine that hangs must not hold up a stop without limit."""

DOUBT_DELAY_S = 1.0
"""How long a request may take before the client probes whether the engine answers at all."""

PROBE_TIMEOUT_S = 2.0
"""An engine that lists no containers in this time is unresponsive. A busy engine takes some tenths of a second for it."""

PROBE_INTERVAL_S = 1.0
POLL_INTERVAL_S = 0.05

OUTPUT_LIMIT = 262_144
REAP_TIMEOUT_S = 1.0

ReportEvent = Callable[[str, str], object]
"""Called with the text and the level of an event about the engine."""


class EngineReply:
    """The output and exit of a command of the engine."""

    def __init__(self, start_error: StartError | None = None) -> None:
        self.start_error = start_error
        """The error when the command could not be started; None where it was started."""
        self.exit: Exit | None = None
        """None: it took too long and was killed, or could not be started."""
        self.stdout = bytearray()
        self.stderr = bytearray()

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.exit is not None and self.exit.status == 0

    @property
    def text(self) -> str:
        """The output on stdout, without white space around it."""
        return self.stdout.decode("utf-8", "replace").strip()

    @property
    def error(self) -> str:
        """The output on stderr, without white space around it."""
        return self.stderr.decode("utf-8", "replace").strip()


class EngineClient:
    """Runs commands of one container engine (`docker …`) and tracks whether the engine answers. Belongs to the trio thread.

    `report_event` is called when the engine stops answering, and when it answers again.
    """

    def __init__(
        self,
        process_table: ProcessTable,
        engine: Engine,
        directory: Path,
        report_event: ReportEvent = lambda _text, _level: None,
    ) -> None:
        self.engine = engine
        self.process_table = process_table
        self.is_unresponsive = False
        """Whether the engine did not answer the last probe."""
        self._directory = directory
        self._report_event = report_event
        self._count = 0
        self._probing = trio.Lock()
        self._last_probe = -1.0
        self._is_watched = False

    async def run(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = COMMAND_TIMEOUT_S,
        needs_answer: bool = True,
    ) -> EngineReply:
        """Run the engine's command with these arguments until it exits, for `timeout` seconds at most; return its reply.

        Raises nothing: a failed start, a time-out and an error of the command are in the reply. With `needs_answer`
        false, the command is killed as soon as the engine is found unresponsive.
        """
        # While the engine is watched, `is_unresponsive` is up to date, so this needs no try of its own.
        if not needs_answer and self.is_unresponsive and self._is_watched:
            await trio.lowlevel.checkpoint()
            return EngineReply()
        try:
            process = await self.start(*arguments, env=env)
        except StartError as error:
            return EngineReply(error)
        reply = EngineReply()

        async def read_reply() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, process.stdout, reply.stdout, OUTPUT_LIMIT)
                nursery.start_soon(collect, process.stderr, reply.stderr, OUTPUT_LIMIT)
                reply.exit = await process.wait_exit()

        try:
            if needs_answer:
                with trio.move_on_after(timeout):
                    await read_reply()
            else:
                await self.wait_while_responsive(timeout, read_reply)
        finally:
            await self.end(process)
        return reply

    async def wait_while_responsive(self, timeout: float, wait: Callable[[], Awaitable[object]]) -> None:
        """Call `wait`, and cancel it after `timeout` seconds or when the engine is found unresponsive."""
        with trio.move_on_after(timeout) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_unresponsive, scope)
                await wait()
                nursery.cancel_scope.cancel()

    async def _cancel_when_unresponsive(self, scope: trio.CancelScope) -> None:
        if not self.is_unresponsive:
            await trio.sleep(DOUBT_DELAY_S)
        while True:
            if not self._is_watched:
                await self._probe()
            if self.is_unresponsive:
                scope.cancel()
            await trio.sleep(PROBE_INTERVAL_S)

    async def watch(self) -> NoReturn:
        """Probe the engine every `PROBE_INTERVAL_S` until cancelled.

        Meanwhile `run` without `needs_answer` returns immediately where the engine is unresponsive.
        """
        try:
            while True:
                await self._probe()
                self._is_watched = True
                await trio.sleep(PROBE_INTERVAL_S)
        finally:
            self._is_watched = False

    async def wait_responsive(self) -> None:
        """Wait until the engine answers again. Has no time-out, and needs a task that runs `watch`."""
        while self.is_unresponsive:
            await trio.sleep(POLL_INTERVAL_S)

    async def _probe(self) -> None:
        """List containers to find out whether the engine answers, and set `is_unresponsive`.

        Callers that come during a probe wait for its result instead of making their own.
        """
        began = trio.current_time()
        async with self._probing:
            if self._last_probe >= began:  # a probe ended while this task waited for the lock
                return
            reply = await self.run("ps", "--quiet", "--filter", f"label={self.engine.label}", timeout=PROBE_TIMEOUT_S)
            self._last_probe = trio.current_time()
            # Where the command could not even be started, the engine may be all right.
            if reply.start_error is None and reply.ok is self.is_unresponsive:
                self.is_unresponsive = not reply.ok
                change = "answers again" if reply.ok else "does not answer — nothing waits for it"
                self._report_event(f"{self.engine.kind} {change}", "info" if reply.ok else "warning")

    async def run_checked(self, what: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run the engine's command with these arguments and return its stdout. `what` begins the message of an error.

        Raises `ResourceExhausted` where a later try may succeed, such as while the engine does not answer, else
        `StartError`.
        """
        reply = await self.run(*arguments, env=env)
        if reply.ok:
            return reply.text
        raise self.failure(what, reply)

    async def run_with_output(
        self, log: InstanceLog, *arguments: str, env: Mapping[str, str] | None = None
    ) -> EngineReply:
        """Run the engine's command with these arguments, such as a pull or build, without a time-out; return its reply.

        The output is written to `log` while the command runs; the reply has only its stderr and exit. Raises
        `StartError` when the command cannot be started; a command that fails is in the reply.
        """
        process = await self.start(*arguments, env=env)
        reply = EngineReply()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log.read, process.stdout, "stdout")
                nursery.start_soon(_collect_and_log, process.stderr, reply.stderr, log)
                reply.exit = await process.wait_exit()
        finally:
            await self.end(process)
        return reply

    def failure(self, what: str, reply: EngineReply) -> StartError:
        """Return the error for a failed command as one line that begins with `what`.

        It is a `ResourceExhausted` where a later try may succeed, else a `StartError`.
        """
        kind = self.engine.kind
        if reply.start_error is not None:
            is_shortage = isinstance(reply.start_error, ResourceExhausted)
            return (ResourceExhausted if is_shortage else StartError)(f"{what}: {reply.start_error}")
        if reply.exit is None:
            within = "" if self.is_unresponsive else f" in {COMMAND_TIMEOUT_S:g} s"
            return ResourceExhausted(f"{what}: {kind} did not answer{within} — trying again")
        if is_unreachable(reply.error):
            return ResourceExhausted(f"{what}: {kind}'s engine does not answer ({error_line(reply.error)}) — start it")
        kind_of_error = ResourceExhausted if lacks_network(reply.error) else StartError
        return kind_of_error(f"{what}: {error_line(reply.error or reply.text)}")

    async def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Start the engine's command with these arguments and return its process. The caller has to call `end`.

        Raises as `ProcessTable.start`.
        """
        self._count += 1
        # An owner for each command: ending one command must not end another one.
        owner = f"{self.engine.kind}.{self._count}"
        environment = {**client_environment(os.environ), **(env or {}), HELPER_ENV: owner}
        argv = (self.engine.program, *arguments)
        return await self.process_table.start(Command(argv, environment, self._directory, owner))

    async def end(self, process: Process) -> None:
        """Kill the process tree of a command if it is still alive, and release its process."""
        with trio.move_on_after(REAP_TIMEOUT_S, shield=True):
            if process.exit is None:
                await self.process_table.end(process.owner, signal.SIGKILL, 0.0)
                await process.wait_exit()
        self.process_table.forget(process)


async def _collect_and_log(descriptor: int, into: bytearray, log: InstanceLog) -> None:
    """Read stderr of a command to its end: write it to `log`, and keep the last `OUTPUT_LIMIT` bytes in `into`."""
    async for data in chunks(descriptor):
        log.feed("stderr", data)
        into += data
        del into[:-OUTPUT_LIMIT]
    log.finish("stderr")
