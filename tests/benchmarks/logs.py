"""Output: what a million lines from one child cost, beside supervisord and circus, and how much others are slowed down.

Every line is one write(2), as services without a buffer make them: the case that is hardest for who reads. All keep the lines in
files that rotate; a run ends when the child has written its last line and the files hold what they will hold.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from minikube.control.client.blocking import ControlClient, find_supervisor
from tests.benchmarks.projects import open_project
from tests.benchmarks.tools import READY_TIMEOUT_S, Row, median, percentile, python_path
from tests.ports import free_port

TEXT = "GET /product/aaa 200 12 ms, a line such as any service prints, number"
POLL_S = 0.01

CHILD = f"""
import os, sys, time
count, done = int(sys.argv[1]), sys.argv[2]
time.sleep(1.0)
started = time.perf_counter()
for number in range(count):
    os.write(1, b"INFO {TEXT} %d\\n" % number)
seconds = time.perf_counter() - started
with open(done + ".new", "w") as file:
    file.write(str(seconds))
os.rename(done + ".new", done)
time.sleep(1000)
"""

OURS = """
[services.chatty]
command = ["{python}", "child.py", "{count}", "done"]
logs = {{ max_size = "50M", keep = 10 }}
"""

SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = {directory}/supervisord.log
pidfile = {directory}/supervisord.pid
user = root
[program:chatty]
command = {python} {directory}/child.py {count} {directory}/done
stdout_logfile = {directory}/chatty.log
stdout_logfile_maxbytes = 50MB
stdout_logfile_backups = 10
"""

CIRCUS = """
[circus]
endpoint = tcp://127.0.0.1:{ports[0]}
pubsub_endpoint = tcp://127.0.0.1:{ports[1]}
[watcher:chatty]
cmd = {python} {directory}/child.py {count} {directory}/done
stdout_stream.class = FileStream
stdout_stream.filename = {directory}/chatty.log
stdout_stream.max_bytes = 52428800
stdout_stream.backup_count = 10
"""


@dataclass(frozen=True)
class Run:
    """One supervisor's run: the child's seconds, lines that are missing, the supervisor's CPU seconds and peak MB."""

    seconds: float
    lost: int
    cpu: float
    peak: float


def run(*, lines: int, rounds: int, peers: bool = True) -> list[Row]:
    """Everyone once in each round; medians. Without `peers` nothing is installed."""
    runs: dict[str, list[Run]] = {}
    answers: list[float] = []
    with TemporaryDirectory(prefix="mk-bench-") as place:
        programs = Path(place)
        if peers:
            argv = [sys.executable, "-m", "pip", "install", "-q", "--no-warn-conflicts", "--target", place]
            subprocess.run([*argv, "supervisor", "circus", "setuptools<81"], check=True)
        for _ in range(rounds):
            runs.setdefault("minikube", []).append(_ours(lines))
            if peers:
                runs.setdefault("supervisord", []).append(_supervisord(lines, programs))
                runs.setdefault("circus", []).append(_circus(lines, programs))
        _ours(lines, answers)  # on its own: who asks takes a part of the machine
    return list(_rows(runs, answers, lines))


def _rows(runs: dict[str, list[Run]], answers: list[float], lines: int) -> Iterator[Row]:
    ours = runs.pop("minikube")
    what = f"{lines:,} lines of one child"
    for peer, theirs in (runs or {"": []}).items():
        for words, name, unit in (
            ("its time", "seconds", "s"),
            ("the supervisor's CPU time", "cpu", "s"),
            ("the supervisor's peak memory", "peak", "MB"),
        ):
            own, other = (median([getattr(one, name) for one in all_runs] or [0.0]) for all_runs in (ours, theirs))
            yield Row(f"{what}: {words}", own, unit, peer, other, "1 x" if name == "seconds" else "")
    yield Row(f"{what}: lines lost", max(one.lost for one in ours), "", goal="0")
    yield Row("/v1/status meanwhile, p99", percentile(answers, 0.99) * 1e3, "ms", goal="50 ms")


def _ours(lines: int, answers: list[float] | None = None) -> Run:
    with open_project(OURS.format(python=sys.executable, count=lines)) as project:
        directory = project.manifest.parent
        (directory / "child.py").write_text(CHILD)
        pid = project.wait(lambda snapshot: bool(snapshot.instances and snapshot.instances[0].pid)).pid
        with nullcontext() if answers is None else _asking(project.manifest, answers):
            seconds = _seconds(directory / "done")
        missing = _missing(lines, directory / ".minikube" / "logs")
        return Run(seconds, missing, _cpu(pid), _peak(pid))


def _supervisord(lines: int, programs: Path) -> Run:
    with TemporaryDirectory(prefix="mk-bench-") as place:
        directory = Path(place)
        (directory / "child.py").write_text(CHILD)
        settings = directory / "settings"
        settings.write_text(SUPERVISORD.format(directory=directory, python=sys.executable, count=lines))
        return _peer(["-m", "supervisor.supervisord", "-c", str(settings)], programs, directory, lines)


def _circus(lines: int, programs: Path) -> Run:
    with TemporaryDirectory(prefix="mk-bench-") as place:
        directory = Path(place)
        (directory / "child.py").write_text(CHILD)
        settings = directory / "settings"
        ports = (free_port(), free_port())
        settings.write_text(CIRCUS.format(directory=directory, python=sys.executable, count=lines, ports=ports))
        return _peer(["-m", "circus.circusd", str(settings)], programs, directory, lines)


def _peer(arguments: list[str], programs: Path, directory: Path, lines: int) -> Run:
    env = {**python_path(), "PYTHONPATH": str(programs)}
    with (directory / "output").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        seconds = _seconds(directory / "done", lambda: server.poll() is None, directory / "output")
        return Run(seconds, _missing(lines, directory), _cpu(server.pid), _peak(server.pid))
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _seconds(done: Path, alive: Callable[[], bool] = lambda: True, output: Path | None = None) -> float:
    """What the child says that it took."""
    deadline = time.monotonic() + 4 * READY_TIMEOUT_S
    while not done.exists():
        if not alive() or time.monotonic() > deadline:
            raise SystemExit(f"{done}: the child did not end\n{output.read_text() if output else ''}")
        time.sleep(0.02)
    return float(done.read_text())


def _missing(lines: int, directory: Path) -> int:
    """How many of the lines are in no file; waits for those that are on their way."""
    deadline = time.monotonic() + 5.0
    while True:
        found = sum(path.read_bytes().count(TEXT.encode()) for path in directory.glob("chatty.log*"))
        if found >= lines or time.monotonic() > deadline:
            return lines - found
        time.sleep(0.1)


def _cpu(pid: int) -> float:
    """User and system time so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _peak(pid: int) -> float:
    """The most resident memory that a process ever had, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e3
    return 0.0


@contextmanager
def _asking(manifest: Path, answers: list[float]) -> Iterator[None]:
    """Asks for the status all the time, a hundred times a second."""
    ended = threading.Event()

    def ask() -> None:
        with suppress(OSError), ControlClient(find_supervisor(manifest)) as client:
            while not ended.wait(POLL_S):
                started = time.perf_counter()
                client.status()
                answers.append(time.perf_counter() - started)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()
