"""What the app calls to talk to the supervisor. `trio_connection` implements it; tests have a fake."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from textual.message import Message

PostMessage = Callable[[Message], object]
"""Hands a message to the app from any thread."""


class Command(NamedTuple):
    """A command for the supervisor."""

    verb: str
    """`start`, `stop`, `restart` or `kill`."""
    target: str
    """The name of a service or an instance."""


class SupervisorConnection(Protocol):
    """A connection that runs in a thread of its own.

    It posts the messages of `tui.connection.messages`. The other methods are called from the app's thread and return at once.
    """

    def run(self, post: PostMessage) -> None:
        """Receive snapshots and post messages until `stop` is called. Never raise because of what the supervisor does."""

    def stop(self) -> None:
        """Make `run` return. May be called from any thread, also before `run`."""

    def send_command(self, command: Command) -> None:
        """Send a command. A `CommandFinished` is posted in any case."""

    def follow_logs(self, request: int, names: Sequence[str] | None) -> None:
        """Follow the logs of these services or instances instead of the ones followed before.

        An empty `names` means all services, None means none at all. `request` is repeated in the messages with the lines.
        """
