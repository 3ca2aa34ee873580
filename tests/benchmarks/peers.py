"""The same six scenarios for us, supervisord, circus and pm2, in one go: what survives, what is lost, how long it takes.

    stop     9 processes of 3 services, 3 of them in sessions of their own, one ignoring TERM: left after a graceful stop
    crash    the same: left two seconds after `kill -9` of the supervisor
    lines    a child writes lines, a write(2) each: its time, lines in no file, the supervisor's peak memory
    many     from the command until so many services run
    exits    from `kill -9` of a service until it is reaped, and until it runs again
    idle     20 services that do nothing: memory, CPU time, and how long the status command takes

Figures are medians. Whose process it is that counts, and how it is set up, is in `others`.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.benchmarks.logs import CHILD, TEXT
from tests.benchmarks.others import Minikube, Program, Supervisor, install_others, wait_until
from tests.benchmarks.tools import Row, cpu_seconds, median, print_lines, show

POLL_S = 0.0002
SETTLE_S = 2.0
VICTIMS = 3
STATUS_CALLS = 3
WELL_S = 1.5
"""How long an instance runs before it is killed: all supervisors delay the restart of a process that ends at once."""

TREE = """
import signal, subprocess, sys
subprocess.Popen(["sleep", "100000"])
subprocess.Popen(["sleep", "100000"], start_new_session=True)
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""

Sample = tuple[tuple[float, str], ...]
"""What one round of one scenario measured, each with its unit, in the order of `LABELS`."""

LABELS = {
    "stop": ("9 processes: alive after a graceful stop", "… which takes"),
    "crash": ("9 processes: alive 2 s after kill -9 of the supervisor",),
    "lines": ("{lines:,} lines from one child: its time", "… lines lost", "… the supervisor's peak memory"),
    "many": ("{many} services: from the command until all run",),
    "exits": ("kill -9 of a service: noticed after", "… running again after"),
    "idle": (
        "20 idle services: the supervisor's memory (RSS)",
        "… with all its helpers (PSS)",
        "… CPU of both, of one core",
        "… the status command takes",
    ),
}


class Trial:
    """One round of every scenario for one kind of supervisor, each in a fresh directory."""

    def __init__(
        self, kind: type[Supervisor], programs: Path, *, lines: int, many: int, idle_s: float, settle_s: float
    ) -> None:
        self.kind = kind
        self._programs = programs
        self._lines = lines
        self._many = many
        self._idle_s = idle_s
        self._settle_s = settle_s
        self.scenarios: dict[str, Callable[[], Sample]] = {
            "stop": self._stop,
            "crash": self._crash,
            "lines": self._count_lines,
            "many": self._start_many,
            "exits": self._exits,
            "idle": self._idle,
        }

    @contextmanager
    def _open(self, services: Sequence[Program]) -> Iterator[Supervisor]:
        with TemporaryDirectory(prefix="mk-bench-", ignore_cleanup_errors=True) as home:
            for name, text in (("tree.py", TREE), ("child.py", CHILD)):
                Path(home, name).write_text(text)
            one = self.kind(Path(home), self._programs, services)
            try:
                yield one
            finally:
                one.end()

    @contextmanager
    def _tree(self) -> Iterator[Supervisor]:
        names = ("deaf", "one", "two")
        with self._open([Program(name, (sys.executable, "{home}/tree.py", name)) for name in names]) as one:
            one.services = [
                Program(each.name, tuple(word.replace("{home}", str(one.home)) for word in each.argv))
                for each in one.services
            ]
            one.start()
            wait_until(lambda: len(one.survivors()) == 9, "nine processes", 0.02)
            time.sleep(0.2)  # the last of them may not have come to ignoring TERM yet
            yield one

    def _stop(self) -> Sample:
        with self._tree() as one:
            began = time.perf_counter()
            one.stop()
            seconds = time.perf_counter() - began
            time.sleep(0.5)
            return (len(one.survivors()), ""), (seconds, "s")

    def _crash(self) -> Sample:
        with self._tree() as one:
            os.kill(one.pid, signal.SIGKILL)
            time.sleep(self._settle_s)
            return ((len(one.survivors()), ""),)

    def _count_lines(self) -> Sample:
        with self._open([]) as one:
            done = one.home / "done"
            argv = (sys.executable, str(one.home / "child.py"), str(self._lines), str(done))
            one.services = [Program("chatty", argv)]
            one.start()
            wait_until(done.exists, "the last line", 0.02, 240)
            deadline = time.monotonic() + 5.0
            while (missing := self._lines - _stored(one.home)) > 0 and time.monotonic() < deadline:
                time.sleep(0.1)
            return (float(done.read_text()), "s"), (missing, ""), (_peak(one.pid), "MB")

    def _start_many(self) -> Sample:
        with self._open(_sleepers(self._many)) as one:
            began = time.perf_counter()
            starting = threading.Thread(target=one.start)  # some return late, when all have been running for a while
            starting.start()
            ended = wait_until(lambda: len(one.survivors()) == self._many, "all to run", 0.03)
            starting.join()
            return (((ended - began) * 1e3, "ms"),)

    def _exits(self) -> Sample:
        noticed, again = [], []
        with self._open(_sleepers(VICTIMS)) as one:
            one.start()
            wait_until(lambda: len(one.survivors()) == VICTIMS, "the services")
            time.sleep(WELL_S)
            # Each is killed once: a process that ends again and again is restarted with growing delays, by minikube and by pm2.
            for victim in one.survivors():
                before = one.children()
                began = time.perf_counter()
                os.kill(victim, signal.SIGKILL)
                gone = wait_until(_is_gone(victim), "the exit", POLL_S)
                back = wait_until(_has_more(one, before), "the restart", POLL_S)
                noticed.append((gone - began) * 1e3)
                again.append((back - began) * 1e3)
                time.sleep(0.2)
        return (median(noticed), "ms"), (median(again), "ms")

    def _idle(self) -> Sample:
        with self._open(_sleepers(20)) as one:
            one.start()
            wait_until(lambda: len(one.survivors()) == 20, "all to run", 0.01)
            time.sleep(self._settle_s)
            calls = []
            for _ in range(STATUS_CALLS):
                began = time.perf_counter()
                one.status()
                calls.append(time.perf_counter() - began)
            own = one.own()
            before = sum(map(cpu_seconds, own))
            time.sleep(self._idle_s)
            share = (sum(map(cpu_seconds, own)) - before) / self._idle_s
            resident = psutil.Process(one.pid).memory_info().rss / 1e6
            whole = sum(psutil.Process(pid).memory_full_info().pss for pid in own) / 1e6
            return (resident, "MB"), (whole, "MB"), (share * 100, "%"), (median(calls) * 1e3, "ms")


def run(
    *, rounds: int, lines: int, many: int, idle_s: float, settle_s: float = SETTLE_S, peers: bool = True
) -> list[Row]:
    """Measures, and prints a table of its own: there are no rows for the common one.

    Without `peers` only us, and nothing is installed. MINIKUBE_BENCHMARK_PEERS: a directory that keeps what was.
    """
    with TemporaryDirectory(prefix="mk-bench-") as scratch:
        directory = Path(os.environ.get("MINIKUBE_BENCHMARK_PEERS") or scratch)
        kinds = install_others(directory) if peers else [Minikube]
        trials = [Trial(kind, directory, lines=lines, many=many, idle_s=idle_s, settle_s=settle_s) for kind in kinds]
        # Scenario by scenario and round by round, everyone in turn: what else the machine does meets all alike.
        found: dict[tuple[str, str], list[Sample]] = {}
        for scenario in LABELS:
            for _ in range(rounds):
                for trial in trials:
                    sample = trial.scenarios[scenario]()
                    found.setdefault((scenario, trial.kind.name), []).append(sample)
                    print(f"{scenario}: {trial.kind.name}: {', '.join(show(*one) for one in sample)}", flush=True)
    names = [kind.name for kind in kinds]
    rows = [("", *names)]
    for scenario, labels in LABELS.items():
        for place, label in enumerate(labels):
            middle = {name: median([sample[place][0] for sample in found[scenario, name]]) for name in names}
            unit = found[scenario, names[0]][0][place][1]
            cells = [show(middle[name], unit) + _ratio(middle[name], middle[names[0]]) for name in names[1:]]
            rows.append((label.format(lines=lines, many=many), show(middle[names[0]], unit), *cells))
    print_lines(rows)
    return []


def _ratio(theirs: float, ours: float) -> str:
    if not ours or not theirs:
        return ""
    return f" ({theirs / ours:,.0f} ×)" if theirs >= 10 * ours else f" ({theirs / ours:.2g} ×)"


def _is_gone(pid: int) -> Callable[[], bool]:
    return lambda: not Path(f"/proc/{pid}").exists()


def _has_more(one: Supervisor, before: set[int]) -> Callable[[], bool]:
    return lambda: bool(one.children() - before)


def _sleepers(count: int) -> list[Program]:
    return [Program(f"sleeper-{number}", ("sleep", "100000")) for number in range(1, count + 1)]


def _stored(home: Path) -> int:
    found = [*home.glob("chatty.log*"), *home.glob(".minikube/logs/chatty.log*")]
    return sum(path.read_bytes().count(TEXT.encode()) for path in found)


def _peak(pid: int) -> float:
    """The most resident memory that a process ever had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM:"))
