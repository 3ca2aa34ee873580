"""Between the supervisor and the dashboard (floor 4): what comes up as messages, what goes down as acts.

`Feed` is all the dashboard knows; `tui.stream` is the real one. A feed runs in a thread of its own and speaks to the
app through `post` alone; `act`, `follow` and `stop` are called from the app's thread and return at once. It refuses to
decide anything: it tells that the link is lost, and goes on trying.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from textual.message import Message

from minikube.model import LogLine, Snapshot

Link = Literal["connecting", "live", "lost"]
Post = Callable[[Message], object]


class Act(NamedTuple):
    """Something to be done to a service or an instance: `start`, `stop`, `restart` or `kill`."""

    verb: str
    target: str


class Linked(Message):
    """The stream came up, or went away: `detail` says why in one line."""

    def __init__(self, link: Link, detail: str = "") -> None:
        super().__init__()
        self.link: Link = link
        self.detail = detail


class Updated(Message):
    """The newest snapshot. One that waits is replaced by the next: who is behind skips to the newest."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Updated)


class LogBatch(Message):
    """Lines of what `follow` asked for under this ticket. `restarted`: they begin anew; `missed`: so many were left out."""

    def __init__(self, ticket: int, lines: Sequence[LogLine], *, restarted: bool = False, missed: int = 0) -> None:
        super().__init__()
        self.ticket = ticket
        self.lines = lines
        self.restarted = restarted
        self.missed = missed


class LogEnded(Message):
    """The logs asked for under this ticket cannot be had, or ended: `detail` says why."""

    def __init__(self, ticket: int, detail: str) -> None:
        super().__init__()
        self.ticket = ticket
        self.detail = detail


class ActDone(Message):
    """An act is over; `error` is the supervisor's own word, empty when it went well."""

    def __init__(self, act: Act, error: str = "") -> None:
        super().__init__()
        self.act = act
        self.error = error


class Feed(Protocol):
    """Where a dashboard's data comes from and where its acts go."""

    def run(self, post: Post) -> None:
        """Blocks in a thread of its own until `stop`. Never raises for anything that the supervisor does."""

    def stop(self) -> None:
        """Ends `run`, from any thread, also before it began."""

    def act(self, act: Act) -> None:
        """Have it done; an `ActDone` follows in any case."""

    def follow(self, ticket: int, names: Sequence[str] | None) -> None:
        """Follow the logs of these names (none named: all) instead of what was followed before; None: of nobody."""
