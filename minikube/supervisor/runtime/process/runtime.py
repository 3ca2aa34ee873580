"""Instances as processes of this machine (floor 3): `runtime.Runtime` over the Household."""

import signal
from collections.abc import Callable, Mapping

import trio

from minikube.linux import processes as tree
from minikube.linux.cgroup import CONTROLLERS
from minikube.linux.credentials import Rights, login_environment, rights_of
from minikube.linux.ports import PortAllocator
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.project.environment import instance_environment
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import OUTPUT_LIMIT, ExecResult, Launch, Tell, filled
from minikube.supervisor.runtime.pipes import collect
from minikube.supervisor.runtime.process.process import HELPER, Command, Process, ProcessTable

REAP_S = 1.0
"""A helper that was killed is dead at once; its own watcher need not wait longer for the word."""


class ProcessRuntime:
    """Implements `Runtime`. `environment` gives what every process of a service sees before its own variables, `warn`
    hears of what could not be done for one that runs nevertheless."""

    def __init__(
        self,
        household: ProcessTable,
        environment: Callable[[ServiceSpec], Mapping[str, str]],
        warn: Callable[[ServiceSpec, str], object],
        claims: PortAllocator,
    ) -> None:
        self._household = household
        self._warn = warn
        self._environment = environment
        self._claims = claims

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, tell: Tell) -> None:
        await trio.lowlevel.checkpoint()

    async def start(self, launch: Launch) -> "LocalProcess":
        async with self._claims.claim(launch.spec, launch.port, launch.taken) as port:
            return await self._start(launch, port)

    async def _start(self, launch: Launch, port: int) -> "LocalProcess":
        spec = launch.spec
        base, who = dict(self._environment(spec)), Rights()
        if spec.user or spec.group:  # the user database may be a directory service
            who = await trio.to_thread.run_sync(rights_of, spec.name, spec.user, spec.group)
            base.update(await trio.to_thread.run_sync(login_environment, spec.user))
        env = instance_environment(base, spec, launch.id, spec.host, port)
        rlimits = {name: value for name, value in spec.limits.items() if name not in CONTROLLERS}
        shares = {name: value for name, value in spec.limits.items() if name in CONTROLLERS}
        command = Command(filled(spec.command, env), env, spec.cwd, launch.id, who, spec.umask, rlimits, shares)
        process = await self._household.start(command)
        for trouble in process.group.troubles if process.group else ():
            self._warn(spec, trouble)
        return LocalProcess(self._household, process, command, spec.host, port)


class LocalProcess:
    """Implements `Running`."""

    def __init__(self, household: ProcessTable, process: Process, command: Command, host: str, port: int) -> None:
        self.pid = process.pid
        self.host = host
        self.port = port
        self.env: Mapping[str, str] = command.env
        self.stdout, self.stderr = process.stdout, process.stderr
        self.exited = process.exited
        self._household = household
        self._process = process
        self._command = command
        self._helpers = 0

    @property
    def exit(self) -> Exit | None:
        return self._process.exit

    async def watch(self) -> Exit:
        return await self._process.watch()

    async def send(self, number: int) -> bool:
        await trio.lowlevel.checkpoint()
        return self._process.send(number)

    def holders(self) -> list[str]:
        return [tree.called(pid) for pid in self._household.members(self._process.owner)]

    async def end(self, number: int, timeout: float) -> list[str]:
        return await self._household.end(self._process.owner, number, timeout)

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        self._helpers += 1
        owner = f"{self._process.owner}.{self._helpers}"
        env = {**self.env, HELPER: owner}
        command = Command(
            filled(argv, self.env), env, self._command.cwd, owner, self._command.rights, self._command.umask
        )
        helper = await self._household.start(command)
        output = bytearray()
        try:
            with trio.move_on_after(timeout):
                async with trio.open_nursery() as nursery:
                    for descriptor in (helper.stdout, helper.stderr):
                        nursery.start_soon(collect, descriptor, output, OUTPUT_LIMIT)
                    await helper.watch()
                    await self._household.end(owner, signal.SIGKILL, 0.0)
        finally:
            with trio.move_on_after(REAP_S, shield=True):
                ended = helper.exit
                await self._household.end(owner, signal.SIGKILL, 0.0)
                await helper.watch()
            self._household.forget(helper)
        return ExecResult(ended, output.decode("utf-8", "replace"))

    def close(self) -> None:
        self._household.forget(self._process)
