"""Which lines of the logs a user asks for. Pure."""

from collections.abc import Container

from msgspec import Struct

from minikube.model import PARTS
from minikube.project_dir import own_log

ALL_LINES = -1
TAIL_DEFAULT = 100
TAIL_MAX = 100_000
"""The upper bound of `tail`; `ALL_LINES` has none."""


class LogQuery(Struct, frozen=True):
    """A selection of log lines: the query of `/v1/logs` and the options of `minikube logs`."""

    tail: int = TAIL_DEFAULT
    """The number of last matching lines to return; `ALL_LINES` for every line on disk."""
    follow: bool = False
    since: float = 0.0
    """Unix seconds; 0: from the beginning."""
    until: float = 0.0
    """Unix seconds; 0: no end."""
    grep: str = ""
    """A pattern in RE2's syntax."""
    level: str = ""
    """The lowest level; a line without a level counts as info."""

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query as parameters of `/v1/logs`: pairs of name and value."""
        given = [("tail", "all" if self.tail == ALL_LINES else str(self.tail))]
        given += [("follow", "true")] if self.follow else []
        for name in ("since", "until"):
            moment = getattr(self, name)
            given += [(name, f"{moment:.6f}")] if moment else []
        given += [(name, value) for name, value in (("grep", self.grep), ("level", self.level)) if value]
        return given


def asked_log(name: str, known: Container[str]) -> str:
    """Return the name of the log that a user means: `redis` is the project's Redis where no service is `known` by that name."""
    return own_log(name) if name in PARTS and name not in known else name
