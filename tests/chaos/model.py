"""What must be true during a chaos run. Pure: observations and times come in, findings go out; all times are monotonic seconds.

`History` remembers each process from its birth to the end of its pidfd, each change that the registry pushed, each guest that
was acknowledged, and the excuses: from when to when a fault allows something that is otherwise broken. The `judge_…` functions
compare one observation with it, `DELAY_S` after it was made, because births, deaths and replies reach this program in any order.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

DELAY_S = 2.0
"""Later than anything is known that happened before an observation."""
BIRTH_S = 0.5
"""A birth may be reported that much after the process was found."""


class Kind(StrEnum):
    """The kinds of findings: the columns of the report."""

    SLOW = "slow pushes"
    LOST = "lost registrations"
    FALSE_REMOVAL = "false removals"
    WRONG_ADDRESS = "wrong addresses, fresh"
    STALE_ADDRESS = "wrong addresses, stale"
    SHOWN_WELL = "shown well and was not"
    DISAGREEMENT = "views that disagree"
    LOST_OUTPUT = "lost output"
    REPEATED_OUTPUT = "repeated output"
    UNEXPECTED_END = "unexpected ends"
    SURVIVOR = "survivors"
    HANG = "hangs"
    FAILED = "failed commands"
    TRACEBACK = "tracebacks"
    GROWTH = "growth"


class Allowance(StrEnum):
    """What a fault may cause for as long as it lasts, and a while longer."""

    END = "processes end"
    REMOVAL = "entries are removed or fail"
    STALE = "addresses of ended processes are found"
    REPLACED = "another address is found"
    LOST_LINES = "lines of the writer are lost"
    SILENCE = "the registry does not answer"
    NO_CONTROL = "the control API does not answer, or shows old states"


@dataclass(frozen=True)
class Finding:
    """One broken promise."""

    kind: Kind
    text: str
    at: float


@dataclass
class Process:
    """One process of the project. `instance` is the id in the registry; `role` is `main`, `child`, `task`, `guest` or a part's
    name."""

    service: str
    instance: str
    pid: int
    port: int
    born: float
    role: str = "main"
    died: float = math.inf

    def lived(self, start: float, end: float) -> bool:
        """Return whether it was alive at some time between the two."""
        return self.born - BIRTH_S <= end and self.died >= start


@dataclass
class Excuse:
    """A fault allows this of a service (`*`: of all) from `start` until `end`."""

    what: Allowance
    service: str
    start: float
    end: float = math.inf


@dataclass(frozen=True)
class Got:
    """A reply of `Get`: which port it gave for the service, and when it was asked for and received."""

    service: str
    port: int
    sent: float
    at: float


@dataclass(frozen=True)
class Removal:
    """An entry that passed since `passing_since` no longer does, or is gone."""

    service: str
    instance: str
    passing_since: float
    at: float
    detail: str = ""


@dataclass(frozen=True)
class End:
    """A process has ended."""

    process: Process
    at: float


Observation = Got | Removal | End


@dataclass(frozen=True)
class Bounds:
    """The longest times of the contract, in seconds, multiplied by the patience with a slow machine."""

    patience: float = 1.0
    push: float = 0.1
    """From the end of a process until watchers are told: half of all ends at least."""
    stale: float = 1.0
    """From the end of a process until its address is found no more."""
    grace: float = 3.0
    """From the end of a fault until what it allowed must no longer be."""
    shown: float = 3.0
    """How long two views of one thing may differ."""
    survive: float = 2.0
    """From the death of the supervisor until nothing is left that it started."""
    serve: float = 2.0
    """From the death of the registry until it answers again."""
    settle: float = 30.0
    """From the last fault until everything is well."""

    def __getitem__(self, name: str) -> float:
        seconds: float = getattr(self, name)
        return seconds * self.patience


@dataclass
class History:
    """What has happened in a run."""

    bounds: Bounds = field(default_factory=Bounds)
    processes: list[Process] = field(default_factory=list)
    excuses: list[Excuse] = field(default_factory=list)
    kills: dict[int, float] = field(default_factory=dict)
    """When this program has killed processes, by their identity (`id`)."""
    pending: list[Observation] = field(default_factory=list)

    def excuse(self, what: Allowance, service: str, at: float) -> Excuse:
        """Allow something from now on; the caller sets `end` when the fault has ended."""
        excuse = Excuse(what, service, at)
        self.excuses.append(excuse)
        return excuse

    def is_excused(self, what: Allowance, service: str, start: float, end: float, *, with_grace: bool = True) -> bool:
        """Return whether a fault allowed it at some time between the two, or until shortly before (the grace)."""
        grace = self.bounds["grace"] if with_grace else 0.0
        return any(
            one.what is what and one.service in ("*", service) and one.start <= end and one.end + grace >= start
            for one in self.excuses
        )

    def alive(self, *roles: str) -> list[Process]:
        """Return the processes of these roles that are alive."""
        return [process for process in self.processes if process.died == math.inf and process.role in roles]

    def ended(self, process: Process, at: float) -> None:
        """Note the end of a process, and judge it later."""
        process.died = at
        self.pending.append(End(process, at))

    def judge(self, now: float) -> list[Finding]:
        """Return what is wrong with the observations that are older than `DELAY_S`, and forget them."""
        due = [one for one in self.pending if one.at + DELAY_S <= now]
        self.pending = [one for one in self.pending if one.at + DELAY_S > now]
        return [finding for one in due if (finding := judge(self, one)) is not None]


def judge(history: History, observation: Observation) -> Finding | None:
    """Return the promise that an observation breaks; None where all is as it should be."""
    match observation:
        case Got():
            return judge_address(history, observation)
        case Removal():
            return judge_removal(history, observation)
        case End():
            return judge_end(history, observation)


def judge_address(history: History, got: Got) -> Finding | None:
    """An address that is found is one at which a process of that service listens, or did until a moment ago."""
    owners = [process for process in history.processes if process.port == got.port and process.role != "child"]
    own = [process for process in owners if process.service == got.service]
    if any(process.lived(got.sent - history.bounds["stale"], got.at) for process in own):
        return None
    others = [process for process in owners if process.lived(got.sent, got.at)]
    where = f"Get of {got.service} gave port {got.port}"
    if others or not own:
        if history.is_excused(Allowance.REPLACED, got.service, got.sent, got.at):
            return None
        heir = f"{others[0].service} (pid {others[0].pid})" if others else "nothing of the project ever"
        return Finding(Kind.WRONG_ADDRESS, f"{where}, at which {heir} listens", got.at)
    if history.is_excused(Allowance.STALE, got.service, got.sent, got.at):
        return None
    last = max(own, key=lambda process: process.died)
    age = got.sent - last.died
    return Finding(Kind.STALE_ADDRESS, f"{where}, of pid {last.pid}, {age:.2f} s after its end", got.at)


def judge_removal(history: History, removal: Removal) -> Finding | None:
    """An entry whose process lives on is not removed, and does not fail."""
    holders = [
        process
        for process in history.processes
        if process.instance == removal.instance
        and process.role in ("main", "guest")
        and process.born <= removal.passing_since
        and process.died > removal.at + BIRTH_S
    ]
    if not holders or history.is_excused(Allowance.REMOVAL, removal.service, removal.at, removal.at):
        return None
    text = f"{removal.service} {removal.instance} (pid {holders[0].pid}) lives and was removed: {removal.detail}"
    return Finding(Kind.FALSE_REMOVAL, text, removal.at)


def judge_end(history: History, end: End) -> Finding | None:
    """A process ends because this program ended it or its parent, or because a fault or a command allowed it."""
    process = end.process
    if process.role in ("task", "guest") or id(process) in history.kills:
        return None
    if history.is_excused(Allowance.END, process.service, end.at, end.at):
        return None
    if process.role == "child" and any(
        other.instance == process.instance and other.role == "main" and abs(other.died - end.at) < DELAY_S
        for other in history.processes
    ):
        return None
    return Finding(Kind.UNEXPECTED_END, f"{process.service} ({process.role}, pid {process.pid}) ended", end.at)


class Sustained:
    """Tells when something has been wrong for too long without a break; once for each time."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def too_long(self, wrong: Iterable[str], now: float, bound: float) -> list[str]:
        """Return what is in `wrong` now and has been in each call for more than `bound` seconds."""
        present = set(wrong)
        self._since = {key: self._since.get(key, now) for key in present}
        self._told &= present
        late = sorted(key for key, since in self._since.items() if now - since > bound and key not in self._told)
        self._told.update(late)
        return late


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that `share` of all values do not exceed (nearest rank); NaN where there are none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan
