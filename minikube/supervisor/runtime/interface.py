"""What runs an instance (floor 3): the small interface between a Runner and a process or a container.

    Launch ──► Runtime.start ──► Running     start, signal, stop the whole tree, wait, output, a helper command beside it

`local.py` runs processes, `containers.py` containers. A Runtime refuses to know policies: when to start, what an exit
means and how long a stop may take come from the Runner. Everything here belongs to the trio thread.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio
from msgspec import Struct

from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec, fill_instance_variables
from minikube.supervisor.runtime.exit_status import Exit

OUTPUT_LIMIT = 4096
"""What is kept of a helper's output, in bytes: its end, where the reason stands."""


Tell = Callable[[str], None]
"""Hears in a few words what is being waited for."""


class Launch(Struct, frozen=True):
    """One start of one instance. `port` is the one it had last (0: none yet), `taken` asks for the others' ports."""

    spec: ServiceSpec
    id: str
    name: str
    port: int = 0
    taken: Callable[[], frozenset[int]] = frozenset
    gone: Callable[[], None] = lambda: None
    """Called, perhaps more than once, as soon as it is known to be dead; how it died may be known a little later."""


class ExecResult(Struct, frozen=True):
    """What a helper command did. `exit` is None where the time-out ended it, `output` holds both streams as text."""

    exit: Exit | None
    output: str


class Running(Protocol):
    """A started instance. `host` and `port` are where the others reach it, `env` is what it was started with."""

    pid: int
    host: str
    port: int
    env: Mapping[str, str]
    stdout: int
    """A descriptor that does not block, like `stderr`; both end with it."""
    stderr: int
    exited: trio.Event
    """Set within about a millisecond of its end; then `exit` tells how."""

    @property
    def exit(self) -> Exit | None: ...

    async def watch(self) -> Exit:
        """Returns when it has ended. One task at a time may call this; without it nothing notices the end."""

    async def send(self, number: int) -> bool:
        """Signals the command itself. False when it has ended already."""

    def holders(self) -> list[str]:
        """Whom its end waits for, for messages: `pid 123 (python)`."""

    async def end(self, number: int, timeout: float) -> list[str]:
        """Signals the whole tree, waits until none of it is alive, kills what is left after `timeout` seconds.

        Returns whom it had to kill, as `holders` does. When cancelled it kills at once, and still waits until all are
        dead, as long as KILL is known to take.
        """

    async def run(self, argv: tuple[str, ...], timeout: float) -> ExecResult:
        """A command beside it: in its place, with its environment, as its user. Its whole tree is dead when this
        returns, also when cancelled. Raises `StartError` when it cannot be executed."""

    def close(self) -> None:
        """Gives back everything that was held for it; it has ended."""


class Runtime(Protocol):
    """Starts instances of one kind."""

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, tell: Tell) -> None:
        """Makes sure that what a start needs is there; may take minutes, and may be cancelled. Raises as `start`."""

    async def start(self, launch: Launch) -> Running:
        """Starts it. Raises `Starved` when the machine is short of something, `PortTaken` when its port is not free,
        else `StartError` when it can never be started like this. When cancelled, the start is undone."""


def filled(words: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """A command with what only the instance knows (`${PORT}`) filled in."""
    return tuple(fill_instance_variables(word, env) for word in words)
