"""The interface between an instance's controller and the runtimes, which run instances as processes or containers.

    Launch ──► Runtime.start ──► Running     signal, stop the whole tree, wait, output, a helper command beside it

`process.runtime` and `container.runtime` implement it. It refuses to decide when to start or restart: see the folder's
docstring. Everything here belongs to the trio thread.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio
from msgspec import Struct

from minikube.errors import StartError
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec, fill_instance_variables
from minikube.project.instance_ports import InstancePorts, UsedPorts
from minikube.supervisor.runtime.exit_status import Exit

OUTPUT_LIMIT = 4096
"""How many bytes of a helper's output are kept: its end, where the reason of a failure stands."""

ShowProgress = Callable[[str], None]
"""Called with what a start is waiting for, in a few words, such as `pulling image nginx`."""


class Launch(Struct, frozen=True):
    """The argument of `Runtime.start`: the instance to start, and the ports that other instances have."""

    spec: ServiceSpec
    id: str
    name: str
    replica: int = 1
    """The number of the replica, from 1."""
    ports: InstancePorts = InstancePorts()
    """The ports of the last start, which are kept where possible."""
    used_ports: Callable[[], UsedPorts] = frozenset
    """Return the ports of all other instances."""
    on_exit: Callable[[], None] = lambda: None
    """Called as soon as the instance is known to be dead, perhaps more than once and before its exit is known."""


class ExecResult(Struct, frozen=True):
    """The result of a helper command: its exit (None after a time-out), and stdout and stderr as one text."""

    exit: Exit | None
    output: str


class Running(Protocol):
    """A started instance: a process or container that can be signalled, stopped and waited for."""

    pid: int
    host: str
    """The host address at which other instances reach the instance."""
    ports: InstancePorts
    """The ports of this machine that the instance has: it listens on them, or its container's are published on them."""
    reached_ports: InstancePorts | None
    """The ports at `host`, where that is an address of the instance alone; None: `ports`."""
    env: Mapping[str, str]
    """The environment that it was started with."""
    stdout: int
    """A descriptor that does not block, like `stderr`; both reach their end when the instance has ended."""
    stderr: int
    exited: trio.Event
    """Set within about a millisecond of the exit; from then on `exit` is known."""

    @property
    def exit(self) -> Exit | None:
        """The exit of the instance; None while it runs."""

    async def wait_exit(self) -> Exit:
        """Wait for the instance's exit and return it.

        Exactly one task has to call this for each instance: `exit` and `exited` are set in it.
        """

    async def send_signal(self, number: int) -> bool:
        """Send a signal to the instance's command, not to its children. Return False where it has ended."""

    def describe_alive(self) -> list[str]:
        """Return a text for each process or container of the instance that is still alive, such as `pid 123 (python)`."""

    async def end(self, number: int, timeout: float) -> list[str]:
        """Send signal `number` to the whole process tree, wait until it is dead, and after `timeout` seconds kill the rest.

        Return the killed processes, in texts as from `describe_alive`. When cancelled, kill immediately and wait for
        the death.
        """

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        """Run a helper command (a hook, a check) with the directory or container, the environment and the user of the instance.

        After `timeout` seconds, at its exit and when cancelled, the process tree of the helper is killed. Raises
        `StartError` when the command cannot be executed.
        """

    def close(self) -> None:
        """Release descriptors and records of the instance, which must have ended."""


class Runtime(Protocol):
    """Starts instances as processes or as containers."""

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, show_progress: ShowProgress) -> None:
        """Make the steps before `start` that may take minutes, such as pulling the image. Raises as `start`.

        The output of a pull or build is written to `output`; `show_progress` is called with a text such as `pulling
        image nginx`.
        """

    async def start(self, launch: Launch) -> Running:
        """Start an instance and return it. When cancelled, the start is undone, or the instance is returned.

        Raises `ResourceExhausted` when the machine lacks memory, processes, descriptors or disk space, `PortTaken` when
        another process has the port, and another `StartError` when no later try can succeed.
        """


def fill_command(words: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of a command with instance variables, such as `${PORT}`, replaced by their values in `env`.

    Raises `StartError` where one is required, as in `${PORT:?message}`, and has no value.
    """
    try:
        return tuple(fill_instance_variables(word, env) for word in words)
    except ValueError as error:
        raise StartError(str(error)) from None
