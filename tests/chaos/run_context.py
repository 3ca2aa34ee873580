"""What all parts of one run share: the project, the history, the log, the findings, and the newest state that each observer saw."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from minikube.model import Instance, Snapshot
from tests.chaos.engine import Engine
from tests.chaos.log import RunLog
from tests.chaos.model import Allowance, Bounds, Excuse, Finding, History, Kind, Process
from tests.chaos.project import Project

POLL_S = 0.05


@dataclass
class Entry:
    """An entry of the registry as the watch shows it, and since when it passes (0: it does not)."""

    instance: Instance
    passing_since: float = 0.0


@dataclass
class Change:
    """A pushed change: whether the instance passes after it."""

    at: float
    instance: str
    passes: bool


@dataclass
class RunContext:
    """One run. `now` is the clock of everything in it."""

    project: Project
    log: RunLog
    bounds: Bounds
    nursery: trio.Nursery
    engine: Engine | None = None
    """The container engine; None where none is installed."""
    history: History = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    snapshot_at: float = 0.0
    entries: dict[str, Entry] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    guests: dict[str, Process] = field(default_factory=dict)
    """Acknowledged registrations of this program itself, by id."""
    acknowledged: int = 0
    lookups: int = 0
    repeated_lines: int = 0
    """Lines that a follower of a log got twice."""
    parts: dict[str, Process] = field(default_factory=dict)
    """The newest process of `supervisor`, `guardian`, `redis` and `registry`."""
    stopped: dict[str, float] = field(default_factory=dict)
    """Since when parts are stopped with SIGSTOP."""
    own: set[int] = field(default_factory=lambda: {1, os.getpid()})
    """Pids that are not the project's."""
    usage: dict[tuple[str, int], list[tuple[float, int, int]]] = field(default_factory=dict)
    """Time, resident bytes and descriptors of each part's process."""
    kept_logs: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.history = History(self.bounds)

    @staticmethod
    def now() -> float:
        """Return the monotonic time."""
        return time.monotonic()

    def find(self, kind: Kind, text: str, at: float | None = None) -> None:
        """Note a broken promise, in the log, too; each text once."""
        if all(text != known.text for known in self.findings):
            finding = Finding(kind, text, self.now() if at is None else at)
            self.findings.append(finding)
            self.log.write("finding", kind=kind.value, text=text, at=round(finding.at - self.log.started, 3))

    def excuse(self, service: str, *what: Allowance) -> list[Excuse]:
        """Allow these from now on; see `end`."""
        return [self.history.excuse(one, service, self.now()) for one in what]

    def end(self, excuses: list[Excuse]) -> None:
        """End what `excuse` allowed."""
        for one in excuses:
            one.end = self.now()

    @contextmanager
    def allow(self, service: str, *what: Allowance) -> Iterator[None]:
        """Allow these inside the `with` block."""
        excuses = self.excuse(service, *what)
        try:
            yield
        finally:
            self.end(excuses)

    def passes(self, instance: str) -> bool:
        """Return whether the watch shows the instance as passing."""
        entry = self.entries.get(instance)
        return entry is not None and entry.passing_since > 0

    def part(self, name: str) -> Process | None:
        """Return the live process of a part."""
        process = self.parts.get(name)
        return process if process is not None and process.lived(self.now(), self.now()) else None

    @property
    def own_log_dir(self) -> Path:
        """The directory of the project's log files."""
        return self.project.state / "logs"


async def until(condition: Any, seconds: float) -> bool:
    """Wait until a function returns something true; return False when the time is over."""
    with trio.move_on_after(seconds):
        while not condition():
            await trio.sleep(POLL_S)
        return True
    return False
