"""Messages that a connection posts to the app."""

from collections.abc import Sequence
from typing import Literal

from textual.message import Message

from minikube.model import LogLine, Snapshot
from tui.connection.interface import Command

ConnectionState = Literal["connecting", "live", "silent", "lost"]
"""`connecting` until the first snapshot, then `live`; `silent` while the supervisor does not answer; `lost` after that."""


class ConnectionChanged(Message):
    """The stream of snapshots was opened or lost."""

    def __init__(self, state: ConnectionState, detail: str = "") -> None:
        super().__init__()
        self.state: ConnectionState = state
        self.detail = detail
        """The reason for a lost connection, in one line."""


class SnapshotReceived(Message):
    """The supervisor sent a newer snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Return whether Textual may drop `message`, which waits in the queue, in favour of this one."""
        # Only the newest snapshot matters: an app that is slow skips the ones between.
        return isinstance(message, SnapshotReceived)


class LogLinesReceived(Message):
    """Log lines for a `follow_logs` call."""

    def __init__(self, request: int, lines: Sequence[LogLine], *, restarted: bool = False, missed: int = 0) -> None:
        super().__init__()
        self.request = request
        """The number that was given to `follow_logs`."""
        self.lines = lines
        self.restarted = restarted
        """True when the lines start from the beginning, and replace those received before."""
        self.missed = missed
        """How many lines before these were left out because they came too fast."""


class LogsEnded(Message):
    """The logs for a `follow_logs` call ended, or could not be opened."""

    def __init__(self, request: int, reason: str) -> None:
        super().__init__()
        self.request = request
        self.reason = reason


class CommandFinished(Message):
    """The supervisor replied to a command, or could not be reached."""

    def __init__(self, command: Command, error: str = "") -> None:
        super().__init__()
        self.command = command
        self.error = error
        """The supervisor's error message; empty after success."""
