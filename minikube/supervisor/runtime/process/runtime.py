"""Instances as processes of this machine: the `Runtime` over the process table."""

import signal
from collections.abc import Callable, Mapping

import trio

from minikube.errors import StartError
from minikube.linux import processes
from minikube.linux.cgroup import CONTROLLERS
from minikube.linux.credentials import Credentials, find_credentials, login_environment
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.project.environment import instance_environment
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import OUTPUT_LIMIT, ExecResult, Launch, ShowProgress, fill_command
from minikube.supervisor.runtime.pipes import collect
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.fork_exec import Command
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import HELPER_ENV, ProcessTable

REAP_TIMEOUT_S = 1.0
"""How long to wait for the exit of a helper after KILL: it is dead by then, only the notice may be late."""


class ProcessRuntime:
    """Runs instances as processes of this machine. Implements `Runtime`.

    `environment` returns the variables that every process of a service has before the service's own. `warn` is called
    with a text about a setting, such as a limit, that could not be applied to an instance that runs all the same.
    `token` returns an instance's registry token.
    """

    def __init__(
        self,
        process_table: ProcessTable,
        environment: Callable[[ServiceSpec], Mapping[str, str]],
        warn: Callable[[ServiceSpec, str], object],
        port_allocator: PortAllocator,
        token: Callable[[ServiceSpec, str], str] = lambda spec, id: "",
    ) -> None:
        self._process_table = process_table
        self._warn = warn
        self._environment = environment
        self._port_allocator = port_allocator
        self._token = token

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, show_progress: ShowProgress) -> None:
        """Do nothing: a process needs no preparation."""
        await trio.lowlevel.checkpoint()

    async def start(self, launch: Launch) -> "LocalProcess":
        """Start an instance as a process; see `Runtime.start`."""
        async with self._port_allocator.claim(launch.spec, launch.ports, launch.used_ports) as ports:
            return await self._start(launch, ports)

    async def _start(self, launch: Launch, ports: InstancePorts) -> "LocalProcess":
        spec = launch.spec
        base, credentials = dict(self._environment(spec)), Credentials()
        if spec.user or spec.group:
            # In a thread: the user database may be a directory service.
            try:
                credentials = await trio.to_thread.run_sync(find_credentials, spec.name, spec.user, spec.group)
            except StartError as error:  # shown as the reason of the instance, which names the service already
                raise StartError(str(error).removeprefix(f"{spec.name}: ")) from None
            base.update(await trio.to_thread.run_sync(login_environment, spec.user))
        env = instance_environment(
            base, spec, launch.id, spec.host, ports, self._token(spec, launch.id), launch.replica
        )
        command = Command(
            fill_command(spec.argv, env),
            env,
            spec.cwd,
            launch.id,
            credentials,
            spec.umask,
            rlimits={name: value for name, value in spec.limits.items() if name not in CONTROLLERS},
            group_limits={name: value for name, value in spec.limits.items() if name in CONTROLLERS},
            may_use_reserve=False,
        )
        process = await self._process_table.start(command)
        for warning in process.group.warnings if process.group else ():
            self._warn(spec, warning)
        return LocalProcess(self._process_table, process, command, spec.host, ports)


class LocalProcess:
    """A process of this machine as a running instance. Implements `Running`."""

    def __init__(
        self, process_table: ProcessTable, process: Process, command: Command, host: str, ports: InstancePorts
    ) -> None:
        self.pid = process.pid
        self.host = host
        self.ports = ports
        self.reached_ports: InstancePorts | None = None
        self.env: Mapping[str, str] = command.env
        self.stdout, self.stderr = process.stdout, process.stderr
        self.exited = process.exited
        self._process_table = process_table
        self._process = process
        self._command = command
        self._helper_count = 0

    @property
    def exit(self) -> Exit | None:
        """The exit of the instance; None while it runs."""
        return self._process.exit

    async def wait_exit(self) -> Exit:
        """Wait until the command has exited, and return its exit."""
        return await self._process.wait_exit()

    async def send_signal(self, number: int) -> bool:
        """Send a signal to the command, not to its children. Return False where it has exited."""
        await trio.lowlevel.checkpoint()
        return self._process.send_signal(number)

    def describe_alive(self) -> list[str]:
        """Return a text for each living process of the instance, such as `pid 123 (python)`."""
        return [processes.describe(pid) for pid in self._process_table.members(self._process.owner)]

    async def end(self, number: int, timeout: float) -> list[str]:
        """End the instance's whole process tree; see `ProcessTable.end`."""
        return await self._process_table.end(self._process.owner, number, timeout)

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        """Run a helper command with the user, directory and environment of the instance; see `Running.run`."""
        self._helper_count += 1
        owner = f"{self._process.owner}.{self._helper_count}"
        env = {**self.env, HELPER_ENV: owner}
        words = fill_command(argv, self.env)
        own = self._command
        command = Command(words, env, own.cwd, owner, own.credentials, own.umask, own.rlimits)
        helper = await self._process_table.start(command)
        output = bytearray()
        try:
            with trio.move_on_after(timeout):
                async with trio.open_nursery() as nursery:
                    for descriptor in (helper.stdout, helper.stderr):
                        nursery.start_soon(collect, descriptor, output, OUTPUT_LIMIT)
                    await helper.wait_exit()
                    # A process that the helper left running would keep the pipes open, and the nursery with them.
                    await self._process_table.end(owner, signal.SIGKILL, 0.0)
        finally:
            with trio.move_on_after(REAP_TIMEOUT_S, shield=True):
                ended = helper.exit
                await self._process_table.end(owner, signal.SIGKILL, 0.0)
                await helper.wait_exit()
            self._process_table.forget(helper)
        return ExecResult(ended, output.decode("utf-8", "replace"))

    def close(self) -> None:
        """Remove the process from the process table and close its pipes."""
        self._process_table.forget(self._process)
