"""The interface of the connection to the supervisor for the app. `trio_connection` implements it; tests have a fake."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from textual.message import Message

PostMessage = Callable[[Message], object]
"""Hands a message to the app from any thread."""


class Command(NamedTuple):
    """A command for the supervisor: a verb and the service or instance that it acts on."""

    verb: str
    """`start`, `stop`, `restart` or `kill`."""
    target: str
    """The name of a service or an instance."""


class SupervisorConnection(Protocol):
    """A connection to the supervisor that runs in a thread of its own.

    It posts the messages of `tui.connection.messages`. The other methods are called from the app's thread and return at once.
    """

    def run(self, post: PostMessage) -> None:
        """Receive snapshots and post messages until `stop` is called. Errors of the connection are posted, not raised."""

    def stop(self) -> None:
        """Make `run` return. May be called from any thread, also before `run`."""

    def send_command(self, command: Command) -> None:
        """Send a command. Post `CommandFinished` with the result, also after an error."""

    def follow_logs(self, request: int, names: Sequence[str] | None) -> None:
        """Follow the logs of the services or instances in `names`; stop following those of the previous call.

        An empty `names` means all services, None follows no logs. `request` is a number that the messages repeat.
        """
