"""One container as a running instance (floor 3): `runtime.Running` over an engine's command.

    start --attach ─► … ─► rm

`start --attach` stays for as long as the container lives: its pipes are the container's output, its exit code is the
container's. That it has died is seen sooner, through a pidfd of its first process, where the engine is on this machine. A
container is removed as soon as it has ended, so that its name is free for the next one; the engine restarts nothing.
"""

import contextlib
import json
import os
import signal
from collections.abc import Mapping

import trio

from minikube.engine.engine import complaint
from minikube.errors import PortTaken, ResourceExhausted, StartError
from minikube.linux import processes as tree
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import OUTPUT_LIMIT, ExecResult, Launch, filled
from minikube.supervisor.runtime.process.process import HELPER, Process

LOOK_S = 0.1
"""Between two looks at whether it runs: a start takes the engine three to five tenths of a second."""

START_S = 60.0
LAST_WORDS_S = 5.0
"""How long the engine may take to tell the exit code of a container that is dead."""

REMOVE_S = 10.0
REMOVE_AGAIN_S = 1.0
"""An engine that did not remove it in time is not waited for that long again."""

KILL_PATIENCE_S = 1.0
SIGNALLED = 128
"""Exit codes above it mean a signal, as in a shell."""

END_MARKED = (
    f'for p in /proc/[0-9]*; do grep -q "{HELPER}=$1" $p/environ 2>/dev/null && kill -9 "${{p#/proc/}}"; done; true'
)
"""For a shell in the container: ends everything with the mark in its environment."""

NOT_EXECUTABLE = (126, 127)


class Container:
    """Implements `Running`."""

    def __init__(
        self,
        client: EngineClient,
        launch: Launch,
        name: str,
        env: Mapping[str, str],
        port: int,
        unremoved: dict[str, bool],
    ) -> None:
        self.id = ""
        self.pid = 0
        self.host = launch.spec.host
        self.port = port
        self.env = env
        self.network = ""
        """The engine's network that its address is on; empty: it is reached at this machine's."""
        self.stdout = self.stderr = -1
        self.exited = trio.Event()
        self._exit: Exit | None = None
        self._client = client
        self._launch = launch
        self._name = name
        self._process: Process | None = None
        self._pidfd = -1
        self._unremoved = unremoved
        self._patience = REMOVE_S
        self._is_dead = self._untold = False
        """Its first process has ended; the engine has not told how."""
        self._helpers = 0

    @property
    def exit(self) -> Exit | None:
        return self._exit

    async def begin(self) -> None:
        """Starts what was created; returns when it runs (or has run). Raises as `Runtime.start`."""
        self._process = process = await self._client.begin("start", "--attach", self._name)
        self.stdout, self.stderr = process.stdout, process.stderr
        with trio.move_on_after(START_S):
            while True:
                with trio.move_on_after(LOOK_S):
                    await process.watch()
                state = await self._look()
                if state.get("Status") in ("running", "paused"):
                    self._meet(int(str(state.get("Pid") or 0)))
                    if self.network:
                        self.host = await self._address()
                    return
                if process.exit is not None:
                    break
        if process.exit is None:
            raise ResourceExhausted(f"its container does not run after {START_S:g} s — trying again")
        if state.get("Status") in ("created", "configured", "initialized", None):
            raise self._refused(str(state.get("Error") or ""))

    async def watch(self) -> Exit:
        process = self._begun
        async with trio.open_nursery() as nursery:
            if self._pidfd >= 0:
                nursery.start_soon(self._see_death)
            ended = await process.watch()
            nursery.cancel_scope.cancel()
        self._launch.gone()
        self._exit = await self._told(ended)
        self.exited.set()
        return self._exit

    async def send(self, number: int) -> bool:
        if self._exit is not None:
            return False
        if self._pidfd >= 0:
            with contextlib.suppress(PermissionError):
                await trio.lowlevel.checkpoint()
                return _send(self._pidfd, number)
        return (await self._client.ask("kill", "--signal", str(number), self._name, insist=False)).good

    def holders(self) -> list[str]:
        if self._exit is not None:
            return []
        kind = self._client.engine.kind
        return [f"{kind}, which has not told how {self._name} ended" if self._is_dead else f"container {self._name}"]

    async def end(self, number: int, timeout: float) -> list[str]:
        killed: list[str] = []
        try:
            with trio.move_on_after(timeout) as patience:
                if await self._ask_to_end(number):
                    await self.exited.wait()
        finally:
            with trio.CancelScope(shield=True):
                if self._exit is None and patience.cancel_called and not self._is_dead:
                    killed += self.holders()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._kill_if_alive)
                    await self._remove()
                    if self._exit is None:
                        await self._client.patiently(LAST_WORDS_S, self.exited.wait)
                    nursery.cancel_scope.cancel()
                if self._exit is None:  # the engine is away: its command would wait for ever
                    await self._client.household.end(self._begun.owner, signal.SIGKILL, 0.0)
        return killed

    async def _kill_if_alive(self) -> None:
        """The engine's KILL takes some tenths of a second; that of one that hangs is not waited for."""
        if not self._client.silent:
            await trio.sleep(KILL_PATIENCE_S)
        self._kill()

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(PermissionError):
                _send(self._pidfd, signal.SIGKILL)
                self._died()

    def _died(self) -> None:
        """Nothing of it runs, though the engine may still have it."""
        self._is_dead = True
        if self._name in self._unremoved:
            self._unremoved[self._name] = True

    async def _ask_to_end(self, number: int) -> bool:
        """False: nobody in there can hear the signal, so waiting would be in vain.

        A first process that does not handle it is the usual reason for a container's slow stop. What it has started hears
        it all the same; where there is nothing, it dies as it would have outside of a container.
        """
        if self._pidfd < 0 or tree.hears(self.pid, number):
            return await self.send(number)
        await trio.lowlevel.checkpoint()
        told = False
        for pid in tree.descendants([self.pid]):
            try:
                told = tree.send(pid, number) or told
            except PermissionError:  # another user's: all that is left is what `docker stop` does
                told = await self.send(number) or told
        return told

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        self._helpers += 1
        mark = f"{self._launch.id}.{self._helpers}"
        words = ("exec", "--env", f"{HELPER}={mark}", self._name, *filled(argv, self.env))
        answer = EngineReply()
        try:
            answer = await self._client.ask(*words, timeout=timeout, insist=False)
        finally:
            if answer.exit is None:  # the client is dead, what it started in the container is not
                await self._end_helper(mark)
        if answer.exit is not None and answer.exit.status in NOT_EXECUTABLE and "OCI runtime" in answer.error:
            raise StartError(f"{argv[0]}: {complaint(answer.error)}")
        return ExecResult(answer.exit, (answer.out + answer.err)[-OUTPUT_LIMIT:].decode("utf-8", "replace"))

    async def _end_helper(self, mark: str) -> None:
        """Kills a command that was left alone in the container. Another user's processes are looked for from inside."""
        found = [stat.pid for stat in tree.scan() if tree.environment(stat.pid).get(HELPER) == mark]
        tree.kill_all(found)
        if not found and os.geteuid() != 0:
            with trio.move_on_after(REMOVE_S, shield=True):
                words = ("exec", "--user", "0", self._name, "sh", "-c", END_MARKED, "sh", mark)
                await self._client.ask(*words, insist=False)

    def close(self) -> None:
        self._part()
        if self._process is not None:
            self._client.household.forget(self._process)

    async def undo(self) -> None:
        """Removes what could not be started."""
        await self._remove()
        if self._process is not None:
            await self._client.end(self._process)
        self._part()

    @property
    def _begun(self) -> Process:
        assert self._process is not None
        return self._process

    def _meet(self, pid: int) -> None:
        """Its first process, if that is one of this machine: a pid of an engine elsewhere would be a stranger's here."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        if self.id[:12] not in tree.cgroup(pid):
            os.close(pidfd)
            return
        self.pid, self._pidfd = pid, pidfd
        self._client.household.lodge(pid, self._launch.id)

    def _part(self) -> None:
        """Its first process is dead, or none of ours."""
        self._client.household.moved_out(self.pid)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def _see_death(self) -> None:
        await trio.lowlevel.wait_readable(self._pidfd)
        self._launch.gone()
        self._died()
        await self._client.patiently(LAST_WORDS_S, trio.sleep_forever)
        self._untold = True
        await self._client.household.end(self._begun.owner, signal.SIGKILL, 0.0)

    async def _look(self) -> dict[str, object]:
        words = ("container", "inspect", "--format", "{{json .State}}", self._name)
        answer = await self._client.ask(*words, insist=False)
        try:
            found = json.loads(answer.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    async def _address(self) -> str:
        form = f'{{{{(index .NetworkSettings.Networks "{self.network}").IPAddress}}}}'
        return await self._client.need("its address", "container", "inspect", "--format", form, self._name)

    async def _told(self, ended: Exit) -> Exit:
        if self._untold:
            return Exit(ended.status, f"{self._client.engine.kind} did not tell how")
        if ended.status <= SIGNALLED:
            return ended
        number = ended.status - SIGNALLED
        starved = (
            number == signal.SIGKILL and "memory" in self._launch.spec.limits and (await self._look()).get("OOMKilled")
        )
        return Exit(-number, "out of memory, limits.memory" if starved else "")

    def _refused(self, said: str) -> StartError:
        """Why the engine could not start it."""
        if not said:
            with contextlib.suppress(OSError):
                said = os.read(self.stderr, 65_536).decode("utf-8", "replace")
        service = self._launch.spec.name
        if "address already in use" in said or "port is already allocated" in said:
            return PortTaken(f"{service}: port {self.port} is taken — set services.{service}.port or stop who has it")
        return StartError(f"cannot start its container: {complaint(said)}")

    async def _remove(self) -> None:
        if self._name in self._unremoved:
            if await remove(self._client, self._name, self._patience):
                self._unremoved.pop(self._name, None)
            else:
                self._patience = REMOVE_AGAIN_S
                self._kill()


async def remove(client: EngineClient, name: str, timeout: float = REMOVE_S) -> bool:
    """Whether the engine has no container of that name any more; what runs in it is killed."""
    answer = await client.ask("rm", *client.engine.force, name, timeout=timeout, insist=False)
    return answer.good or "no such container" in answer.error.lower()


def _send(pidfd: int, number: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True
