"""What every benchmark uses: pinned processes, the Go programs, the load, and the table.

Figures of one machine's one moment: only ratios within a run mean something. The server has one core, the load another.
"""

import atexit
import collections
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
READY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Load:
    """A shape of load: so many connections, so many requests in flight on each."""

    name: str
    connections: int
    depth: int


SEQUENTIAL = Load("sequential", 1, 1)
PARALLEL = Load("64 connections", 64, 1)
PIPELINED = Load("pipelined 8 x 32", 8, 32)


@dataclass(frozen=True)
class Row:
    """One line of the table: ours, a peer of the same run (0: none), and what was promised."""

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float = 0.0
    goal: str = ""

    @property
    def ratio(self) -> str:
        """Ours ÷ the peer's."""
        return f"{self.ours / self.theirs:.2f} x" if self.theirs else ""


def print_table(rows: Sequence[Row]) -> None:
    """The table of what was measured, as Markdown."""
    lines = [("what", "ours", "peer", "peer's", "ratio", "goal")]
    lines += [
        (r.what, show(r.ours, r.unit), r.peer, show(r.theirs, r.unit) if r.theirs else "", r.ratio, r.goal)
        for r in rows
    ]
    print_lines(lines)


def print_lines(lines: Sequence[Sequence[str]]) -> None:
    """A Markdown table; the first line is its head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def show(value: float, unit: str) -> str:
    """Three figures or whole numbers, with the unit."""
    return (f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}").strip()


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cores() -> tuple[int, int]:
    """The server's core and the load's; on a machine with one core both are the same."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pinned(core: int, *argv: str) -> list[str]:
    """The command, on this core alone."""
    return ["taskset", "--cpu-list", str(core), *argv]


@cache
def go_program(name: str) -> str:
    """`go/NAME.go`, built once in a run and removed at its end."""
    go = shutil.which("go")
    if go is None:
        raise SystemExit("the benchmarks need Go (Debian's golang-go)")
    directory = tempfile.mkdtemp(prefix="mk-bench-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    target = Path(directory) / name
    subprocess.run([go, "build", "-o", str(target), str(HERE / "go" / f"{name}.go")], check=True)
    return str(target)


def python_path() -> dict[str, str]:
    """The environment for our own programs: none of the caller's settings, and bytecode is kept."""
    foreign = ("MINIKUBE_", "PYTHONDONTWRITEBYTECODE", "REDIS_URL", "PORT", "HOST")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


@contextlib.contextmanager
def running(argv: Sequence[str], *, env: dict[str, str] | None = None, ready: str = "") -> Iterator[tuple[int, str]]:
    """A server: yields its pid and the first line that holds `ready`; kills its whole session at the end."""
    server = subprocess.Popen(
        list(argv),
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    printed = []
    reader = threading.Thread(target=collections.deque, args=(server.stdout, 0), daemon=True)
    try:
        for line in server.stdout:
            printed.append(line)
            if ready in line:
                reader.start()  # what it says later is read and dropped, so that it never blocks
                yield server.pid, line.strip()
                return
        raise SystemExit(f"{argv} did not start:\n{''.join(printed)}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        if reader.ident:
            reader.join()
        server.stdout.close()


def load(shape: Load, protocol: str, address: str, names: Sequence[str], seconds: float) -> dict[str, float]:
    """One run of the load generator; its figures."""
    argv = pinned(cores()[1], go_program("load"), "-protocol", protocol, "-address", address)
    argv += ["-names", ",".join(names), "-seconds", str(seconds)]
    argv += ["-connections", str(shape.connections), "-depth", str(shape.depth)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shape.name}, {protocol}: {done.stderr.strip()}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def cpu_seconds(pid: int) -> float:
    """What a process and its threads have used so far: tells more than a rate while others use the machine.

    The scheduler's own count, in nanoseconds; `/proc/PID/stat` counts ticks of 10 ms.
    """
    used = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            used += int((thread / "schedstat").read_text().split()[0])
    return used / 1e9


class Trial:
    """Loads on several servers, one after another, round by round: rates, and requests a second of the server's CPU."""

    def __init__(self) -> None:
        self._rates: dict[tuple[Load, str], list[float]] = {}
        self._by_cpu: dict[tuple[Load, str], list[float]] = {}

    def run(
        self, server: str, pid: int, shape: Load, protocol: str, address: str, names: Sequence[str], seconds: float
    ) -> None:
        """One load on one server, known by a word."""
        before = cpu_seconds(pid)
        done = load(shape, protocol, address, names, seconds)
        used = max(1e-6, cpu_seconds(pid) - before)
        self._rates.setdefault((shape, server), []).append(done["per_second"])
        self._by_cpu.setdefault((shape, server), []).append(done["requests"] / used)

    def rows(self, what: str, shape: Load, ours: str, theirs: str, peer: str, goal: str = "") -> list[Row]:
        """One row by the clock, one by the CPU; medians over the rounds."""
        return [
            Row(f"{what}{by}", median(of[shape, ours]), unit, peer, median(of[shape, theirs]), wanted)
            for of, by, unit, wanted in (
                (self._rates, "", "/s", goal),
                (self._by_cpu, ", by CPU", "/CPU s", ""),
            )
        ]


def install(directory: Path, lock: Path) -> None:
    """Put Python programs of others into a directory."""
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-warn-conflicts", "--target", str(directory)]
    subprocess.run([*argv, "--require-hashes", "-r", str(lock)], check=True)
