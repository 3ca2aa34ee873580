"""One container as a running instance: `Running` over an engine's command.

    start --attach ─► … ─► rm

`start --attach` runs for as long as the container: its pipes are the container's output, its exit code is the container's.
Where the engine is on this machine, the death of the container's first process is noticed sooner, through a pidfd. A container is
removed as soon as it has ended, so that its name is free for the next start; the engine restarts nothing.
"""

import contextlib
import json
import logging
import os
import signal
from collections.abc import Mapping

import trio

from minikube.engine.command import error_line
from minikube.engine.networks import WITHOUT_NETWORK, is_network_failure, lacks_network
from minikube.errors import PortTaken, ResourceExhausted, StartError
from minikube.linux import processes
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import OUTPUT_LIMIT, ExecResult, Launch, fill_command
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import HELPER_ENV

logger = logging.getLogger(__name__)

INSPECT_INTERVAL_S = 0.1
"""Between two inspections of a starting container: a start takes the engine three to five tenths of a second."""

START_TIMEOUT_S = 60.0
EXIT_CODE_TIMEOUT_S = 5.0
"""How long the engine may take to return the exit code of a container that is dead."""

REMOVE_TIMEOUT_S = 10.0
REMOVE_RETRY_TIMEOUT_S = 1.0
"""The time-out of a removal after one that the engine did not finish in time."""

KILL_DELAY_S = 1.0
"""How long the engine may take to kill the container in `rm --force` before the supervisor kills it."""

SIGNAL_BASE = 128
"""An exit code above it means a signal, as in a shell."""

KILL_HELPER_SCRIPT = (
    f'for p in /proc/[0-9]*; do grep -q "{HELPER_ENV}=$1" $p/environ 2>/dev/null && kill -9 "${{p#/proc/}}"; done; true'
)
"""For a shell in the container: kill all processes of one helper, which have its owner in their environment."""

NOT_EXECUTABLE = (126, 127)


class Container:
    """A container as a running instance. Implements `Running`.

    `name` is the container's name at the engine. `unremoved` is shared with the runtime: the names of containers not
    removed yet → whether all their processes are dead.
    """

    def __init__(
        self,
        client: EngineClient,
        launch: Launch,
        name: str,
        env: Mapping[str, str],
        ports: InstancePorts,
        unremoved: dict[str, bool],
    ) -> None:
        self.id = ""
        self.pid = 0
        self.host = launch.spec.host
        self.ports = ports
        self.reached_ports: InstancePorts | None = None
        self.env = env
        self.network = ""
        """The engine's network on which the container has its address; empty where it is reached at an address of this machine."""
        self.stdout = self.stderr = -1
        self.exited = trio.Event()
        self._exit: Exit | None = None
        self._client = client
        self._launch = launch
        self._name = name
        self._process: Process | None = None
        """The engine's `start --attach`."""
        self._pidfd = -1
        self._unremoved = unremoved
        self._remove_timeout = REMOVE_TIMEOUT_S
        self._is_dead = False
        """Whether its first process has ended; the exit code may still be unknown."""
        self._exit_unknown = False
        """Whether the engine did not return the exit code in time."""
        self._helper_count = 0

    @property
    def exit(self) -> Exit | None:
        """The exit of the instance; None while it runs."""
        return self._exit

    async def start(self) -> None:
        """Start the container, which was created before; return when it runs, or has already ended. Raises as `Runtime.start`."""
        self._process = process = await self._client.start("start", "--attach", self._name)
        self.stdout, self.stderr = process.stdout, process.stderr
        with trio.move_on_after(START_TIMEOUT_S):
            while True:
                # A container that exits immediately ends `start --attach` too: then the loop ends without waiting.
                with trio.move_on_after(INSPECT_INTERVAL_S):
                    await process.wait_exit()
                state = await self._inspect()
                if state.get("Status") in ("running", "paused"):
                    self._open_first_process(int(str(state.get("Pid") or 0)))
                    if self.network:
                        self.host = self._address_in(state)
                    return
                if process.exit is not None:
                    break
        if process.exit is None:
            raise ResourceExhausted(f"its container does not run after {START_TIMEOUT_S:g} s — trying again")
        if state.get("Status") in ("created", "configured", "initialized", None):
            raise self._start_error(str(state.get("Error") or ""))

    async def wait_exit(self) -> Exit:
        """Wait for the container's exit and return it."""
        process = self._attached
        async with trio.open_nursery() as nursery:
            if self._pidfd >= 0:
                nursery.start_soon(self._watch_first_process)
            ended = await process.wait_exit()
            nursery.cancel_scope.cancel()
        self._launch.on_exit()
        self._exit = await self._read_exit(ended)
        self.exited.set()
        return self._exit

    async def send_signal(self, number: int) -> bool:
        """Send a signal to the container's first process. Return False where it has ended."""
        if self._exit is not None:
            return False
        if self._pidfd >= 0:
            with contextlib.suppress(PermissionError):
                await trio.lowlevel.checkpoint()
                return self._log_signal(number, _send_signal(self._pidfd, number))
        reply = await self._client.run("kill", "--signal", str(number), self._name, needs_answer=False)
        return self._log_signal(number, reply.ok)

    def _log_signal(self, number: int, sent: bool) -> bool:
        """Log a signal that was sent to the container, and return `sent`."""
        if sent:
            logger.debug("sent %s to container %s", Exit(-number), self._name)
        return sent

    def describe_alive(self) -> list[str]:
        """Return a text with the container's name, in a list; empty once its exit is known.

        Where only the exit code is missing, the text names the engine that has not returned it.
        """
        if self._exit is not None:
            return []
        kind = self._client.engine.kind
        return [
            f"{kind}, which has not returned the exit code of {self._name}"
            if self._is_dead
            else f"container {self._name}"
        ]

    async def end(self, number: int, timeout: float) -> list[str]:
        """Stop the container and remove it; see `Running.end`."""
        killed: list[str] = []
        try:
            with trio.move_on_after(timeout) as scope:
                if await self._request_stop(number):
                    await self.exited.wait()
        finally:
            # Shielded, and bounded by the time-outs of the calls inside: no container must be left behind by a cancel.
            with trio.CancelScope(shield=True):
                if self._exit is None and scope.cancel_called and not self._is_dead:
                    killed += self.describe_alive()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._kill_after_delay)
                    await self._remove()
                    if self._exit is None:
                        await self._client.wait_while_responsive(EXIT_CODE_TIMEOUT_S, self.exited.wait)
                    nursery.cancel_scope.cancel()
                if self._exit is None:  # the engine does not answer: `start --attach` would not end
                    await self._client.process_table.end(self._attached.owner, signal.SIGKILL, 0.0)
        return killed

    async def _kill_after_delay(self) -> None:
        """Kill the container's processes after `KILL_DELAY_S`, immediately where the engine is unresponsive.

        The caller cancels it once the engine has removed the container.
        """
        if not self._client.is_unresponsive:
            await trio.sleep(KILL_DELAY_S)
        self._kill()

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(PermissionError):
                self._log_signal(signal.SIGKILL, _send_signal(self._pidfd, signal.SIGKILL))
                self._mark_dead()

    def _mark_dead(self) -> None:
        """Record that no process of the container runs. The engine may still list the container."""
        self._is_dead = True
        if self._name in self._unremoved:
            self._unremoved[self._name] = True

    async def _request_stop(self, number: int) -> bool:
        """Send the stop signal. Return False where no process of the container will handle it, so that a wait is useless."""
        if self._pidfd < 0 or processes.handles_signal(self.pid, number):
            return await self.send_signal(number)
        # The usual reason why a container takes its whole time-out to stop: the kernel drops a signal that a first process
        # does not handle. Its children get the signal all the same. Without children it dies as outside of a container.
        await trio.lowlevel.checkpoint()
        delivered = False
        for pid in processes.descendants([self.pid]):
            try:
                delivered = processes.send_signal(pid, number) or delivered
            except PermissionError:  # another user's process: do what `docker stop` does
                delivered = await self.send_signal(number) or delivered
        return delivered

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        """Run a helper command in the container with the engine's `exec`; see `Running.run`."""
        self._helper_count += 1
        owner = f"{self._launch.id}.{self._helper_count}"
        words = ("exec", "--env", f"{HELPER_ENV}={owner}", self._name, *fill_command(argv, self.env))
        reply = EngineReply()
        try:
            reply = await self._client.run(*words, timeout=timeout, needs_answer=False)
        finally:
            if reply.exit is None:  # killing `exec` does not kill the command that it has started in the container
                await self._kill_helper(owner)
        if reply.exit is not None and reply.exit.status in NOT_EXECUTABLE and "OCI runtime" in reply.error:
            raise StartError(f"{argv[0]}: {error_line(reply.error)}")
        return ExecResult(reply.exit, (reply.stdout + reply.stderr)[-OUTPUT_LIMIT:].decode("utf-8", "replace"))

    async def _kill_helper(self, owner: str) -> None:
        """Kill the processes of a helper command; `owner` is the value of `HELPER_ENV` in their environment.

        Processes of another user are invisible from outside: a shell in the container kills them.
        """
        found = [
            stat.pid for stat in processes.scan_processes() if processes.environment(stat.pid).get(HELPER_ENV) == owner
        ]
        processes.kill_all(found)
        if not found and os.geteuid() != 0:
            with trio.move_on_after(REMOVE_TIMEOUT_S, shield=True):
                words = ("exec", "--user", "0", self._name, "sh", "-c", KILL_HELPER_SCRIPT, "sh", owner)
                await self._client.run(*words, needs_answer=False)

    def close(self) -> None:
        """Release the pidfd of the first process and the process of `start --attach`."""
        self._close_first_process()
        if self._process is not None:
            self._client.process_table.forget(self._process)

    async def undo_start(self) -> None:
        """Remove the container after a failed or cancelled `start`."""
        await self._remove()
        if self._process is not None:
            await self._client.end(self._process)
        self._close_first_process()

    @property
    def _attached(self) -> Process:
        assert self._process is not None
        return self._process

    def _open_first_process(self, pid: int) -> None:
        """Open a pidfd of the container's first process and enter it into the process table.

        Does nothing where the engine is on another machine.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        # The pid of an engine on another machine would be any process here: its control group must name the container.
        if self.id[:12] not in processes.cgroup_paths(pid):
            os.close(pidfd)
            return
        self.pid, self._pidfd = pid, pidfd
        self._client.process_table.add_external(pid, self._launch.id)

    def _close_first_process(self) -> None:
        self._client.process_table.remove_external(self.pid)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def _watch_first_process(self) -> None:
        """Wait for the death of the first process and call `launch.on_exit`.

        Where the engine does not return the exit code within `EXIT_CODE_TIMEOUT_S`, kill `start --attach`, which waits
        for it.
        """
        await trio.lowlevel.wait_readable(self._pidfd)
        self._launch.on_exit()
        self._mark_dead()
        await self._client.wait_while_responsive(EXIT_CODE_TIMEOUT_S, trio.sleep_forever)
        self._exit_unknown = True
        await self._client.process_table.end(self._attached.owner, signal.SIGKILL, 0.0)

    async def _inspect(self) -> dict[str, object]:
        """Return the state of the container from `inspect`, by the engine's keys; empty where the engine does not answer."""
        # Both in one query: each takes the engine some hundredths of a second.
        form = '{"State":{{json .State}},"Networks":{{json .NetworkSettings.Networks}}}'
        reply = await self._client.run("container", "inspect", "--format", form, self._name, needs_answer=False)
        try:
            found = json.loads(reply.text)
            return {**found["State"], "Networks": found["Networks"]}
        except (ValueError, KeyError, TypeError):
            return {}

    def _address_in(self, state: dict[str, object]) -> str:
        """Return the container's address on its network, by the reply to `_inspect`. Raises `ResourceExhausted` without one."""
        networks = state.get("Networks")
        found = networks.get(self.network) if isinstance(networks, dict) else None
        if isinstance(found, dict) and (address := str(found.get("IPAddress") or "")):
            return address
        raise ResourceExhausted(f"its container has no address on network {self.network} — trying again")

    async def _read_exit(self, ended: Exit) -> Exit:
        """Return the exit of the container. `ended` is the exit of `start --attach`."""
        if self._exit_unknown:
            return Exit(ended.status, f"{self._client.engine.kind} did not return the exit code")
        if ended.status <= SIGNAL_BASE:
            return ended
        number = ended.status - SIGNAL_BASE
        # Only where it may be the reason: the query takes the engine some tenths of a second.
        may_be_oom = number == signal.SIGKILL and "memory" in self._launch.spec.limits
        out_of_memory = may_be_oom and (await self._inspect()).get("OOMKilled")
        return Exit(-number, "out of memory, limits.memory" if out_of_memory else "")

    def _start_error(self, message: str) -> StartError:
        """Return the error for a container that could not be started; `message` is the engine's, empty where there is none."""
        if not message:
            with contextlib.suppress(OSError):
                message = os.read(self.stderr, 65_536).decode("utf-8", "replace")
        service = self._launch.spec.name
        if "address already in use" in message or "port is already allocated" in message:
            # Engines name the address, as in `listen tcp4 127.0.0.1:7070: bind: address already in use`.
            named = ((f"ports.{name}", port) for name, port in self.ports.named.items() if f":{port}" in message)
            key, port = next(named, ("port", self.ports.main))
            return PortTaken(f"port {port} is taken — set services.{service}.{key} or stop the process that has it")
        if lacks_network(message):
            return ResourceExhausted("the project's network is gone — making it again")
        has_network = self._launch.spec.is_on_project_network
        hint = f" — {WITHOUT_NETWORK} for {service}" if has_network and is_network_failure(message) else ""
        return StartError(f"cannot start its container: {error_line(message)}{hint}")

    async def _remove(self) -> None:
        if self._name in self._unremoved:
            if await remove(self._client, self._name, self._remove_timeout):
                self._unremoved.pop(self._name, None)
            else:
                self._remove_timeout = REMOVE_RETRY_TIMEOUT_S
                self._kill()


async def remove(client: EngineClient, name: str, timeout: float = REMOVE_TIMEOUT_S) -> bool:
    """Kill and remove a container; return whether the engine has no container of that name afterwards."""
    reply = await client.run("rm", *client.engine.remove_options, name, timeout=timeout, needs_answer=False)
    return reply.ok or "no such container" in reply.error.lower()


def _send_signal(pidfd: int, number: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True
