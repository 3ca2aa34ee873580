"""The interface between an instance's controller and what runs the instance: a process or a container.

    Launch ──► Runtime.start ──► Running     signal, stop the whole tree, wait, output, a helper command beside it

`process.runtime` and `container.runtime` implement it. It refuses to know policies: see the folder's docstring. Everything
here belongs to the trio thread.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio
from msgspec import Struct

from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec, fill_instance_variables
from minikube.supervisor.runtime.exit_status import Exit

OUTPUT_LIMIT = 4096
"""How many bytes of a helper's output are kept: its end, where the reason of a failure stands."""

ShowProgress = Callable[[str], None]
"""Called with a few words that say what a start is waiting for, such as `pulling image nginx`."""


class Launch(Struct, frozen=True):
    """One start of one instance."""

    spec: ServiceSpec
    id: str
    name: str
    port: int = 0
    """The port of the last start, which is kept where possible; 0: none yet."""
    used_ports: Callable[[], frozenset[int]] = frozenset
    """Return the ports of all other instances."""
    on_exit: Callable[[], None] = lambda: None
    """Called as soon as the instance is known to be dead, perhaps more than once and before its exit is known."""


class ExecResult(Struct, frozen=True):
    """The result of a helper command: its exit (None: ended by the time-out) and both output streams as text."""

    exit: Exit | None
    output: str


class Running(Protocol):
    """A started instance."""

    pid: int
    host: str
    """The address at which other instances reach it."""
    port: int
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
        """Wait for the instance's exit and return it. Exactly one task has to call this: without it no exit is noticed."""

    async def send_signal(self, number: int) -> bool:
        """Send a signal to the instance's command, not to its children. Return False where it has ended."""

    def describe_alive(self) -> list[str]:
        """Return the parts of the instance that are still alive, in words for messages: `pid 123 (python)`."""

    async def end(self, number: int, timeout: float) -> list[str]:
        """Send a signal to the whole process tree, wait until it is dead, kill what is alive after `timeout` seconds.

        Returns what had to be killed, in words as from `describe_alive`. When cancelled it kills immediately, and still
        waits until all is dead, for as long as KILL is known to take.
        """

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        """Run a helper command beside the instance: in its directory or container, with its environment, as its user.

        The helper's whole tree is dead when this returns, also when cancelled. Raises `StartError` when the helper cannot
        be executed.
        """

    def close(self) -> None:
        """Release all resources held for the instance, which must have ended."""


class Runtime(Protocol):
    """Starts instances: processes or containers."""

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, show_progress: ShowProgress) -> None:
        """Make sure that everything that a start needs is there, such as the image. May take minutes. Raises as `start`."""

    async def start(self, launch: Launch) -> Running:
        """Start an instance. When cancelled, the start is undone.

        Raises `ResourceExhausted` when the machine is short of something, `PortTaken` when the port is not free, and any
        other `StartError` when no later try can succeed.
        """


def fill_command(words: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Return a command with the variables that only the instance knows, such as `${PORT}`, filled in."""
    return tuple(fill_instance_variables(word, env) for word in words)
