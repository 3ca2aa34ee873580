"""What the supervisor does: start, start many, notice an exit; and the memory it takes.

Every project is a manifest in a temporary directory with ports of its own.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from minikube.control.client.blocking import ControlClient, find_supervisor
from minikube.errors import MinikubeError
from minikube.model import CheckState, Snapshot
from tests.benchmarks.registry import Rpc
from tests.benchmarks.tools import READY_TIMEOUT_S, ROOT, Row, median, percentile, python_path
from tests.ports import free_port

HEAD = """
name = "bench"
[registry]
listen = "127.0.0.1:{registry}"
[control]
listen = "127.0.0.1:{control}"
"""

SHOP = """
[services.product]
command = ["${{MINIKUBE_PYTHON}}", "-m", "services.product"]
cwd = "{root}"
port = "auto"
health = "/health"
register = "self"
[services.order]
command = ["${{MINIKUBE_PYTHON}}", "-m", "services.order"]
cwd = "{root}"
port = "auto"
health = "/health"
register = "self"
depends_on = {{ product = "healthy" }}
"""

MANY = """
[services.many]
command = ["sleep", "1000"]
replicas = {count}
"""

VICTIMS = """
[services.victim]
command = ["${{MINIKUBE_PYTHON}}", "-m", "http.server", "--bind", "127.0.0.1", "${{PORT}}"]
port = "auto"
replicas = {count}
health = {{ http = "/", interval = "5s" }}
restart = {{ policy = "always", delay = "50ms", max_delay = "100ms" }}
"""


class Project:
    """A manifest in a directory, brought up detached."""

    def __init__(self, directory: Path, services: str) -> None:
        self.manifest = directory / "supervisor.toml"
        self.registry = f"127.0.0.1:{free_port()}"
        ports = {"registry": self.registry.rpartition(":")[2], "control": free_port()}
        self.manifest.write_text(HEAD.format(**ports) + services)
        self.launched = 0.0

    def command(self, *arguments: str) -> None:
        """One `minikube` command for this manifest."""
        argv = [sys.executable, "-m", "minikube", *arguments]
        done = subprocess.run(
            argv, cwd=self.manifest.parent, env=python_path(), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise SystemExit(f"{arguments}: {done.stdout}{done.stderr}")

    def wait(self, ready: Callable[[Snapshot], bool]) -> Snapshot:
        """Wait for a snapshot that satisfies the condition, and return it; a long poll, so that none is missed."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(MinikubeError), ControlClient(find_supervisor(self.manifest)) as client:
                revision = -1
                while time.monotonic() < deadline:
                    snapshot = client.status(after=revision, wait=1.0)
                    if ready(snapshot):
                        return snapshot
                    revision = snapshot.revision
            time.sleep(0.002)
        raise SystemExit(f"{self.manifest}: not ready after {READY_TIMEOUT_S} s")


@contextlib.contextmanager
def open_project(services: str) -> Iterator[Project]:
    """`up -d`, and `down` at the end. `launched` is when `up` was called."""
    with TemporaryDirectory(prefix="mk-bench-") as directory:
        project = Project(Path(directory), services)
        argv = [sys.executable, "-m", "minikube", "up", "-d"]
        project.launched = time.perf_counter()
        up = subprocess.Popen(
            argv, cwd=directory, env=python_path(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            yield project
        finally:
            up.wait()
            project.command("down")


def all_passing(count: int) -> Callable[[Snapshot], bool]:
    """So many instances, every one passing."""
    return lambda snapshot: (
        [i.check for i in snapshot.instances].count(CheckState.PASSING) == count == len(snapshot.instances)
    )


def all_started(count: int) -> Callable[[Snapshot], bool]:
    """So many processes. (What has no check is called running after a second, and that is not what takes time.)"""
    return lambda snapshot: sum(i.pid > 0 for i in snapshot.instances) == count


def resident(pid: int) -> float:
    """Resident memory in MB."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def measure_up(rounds: int) -> list[Row]:
    """From the command to product and order passing, and what supervisor and registry then take."""
    times, supervisor, registry = [], [], []
    for _ in range(rounds):
        with open_project(SHOP.format(root=ROOT)) as project:
            snapshot = project.wait(all_passing(2))
            times.append((time.perf_counter() - project.launched) * 1e3)
            supervisor.append(resident(snapshot.pid))
            registry.append(resident(next(part.pid for part in snapshot.parts if part.name == "registry")))
    return [
        Row(f"up until product and order pass, median of {rounds}", median(times), "ms", goal="1,500 ms"),
        Row("supervisor, resident", median(supervisor), "MB"),
        Row("registry, resident, 2 instances", median(registry), "MB"),
    ]


def measure_spawns(count: int, rounds: int) -> list[Row]:
    """From the command to so many processes."""
    times = []
    for _ in range(rounds):
        with open_project(MANY.format(count=count)) as project:
            project.wait(all_started(count))
            times.append((time.perf_counter() - project.launched) * 1e3)
    return [Row(f"up until {count} processes are there, median of {rounds}", median(times), "ms")]


def measure_exits(count: int, kills: int) -> list[Row]:
    """From `kill -9` of an instance to the notice of a watcher that it is not passing any more."""
    times = []
    with open_project(VICTIMS.format(count=count)) as project:
        for number in range(kills):
            snapshot = project.wait(all_passing(count))
            victim = snapshot.instances[number % count]
            with Rpc(project.registry) as watcher:
                watcher.call("Watch", "victim")
                started = time.perf_counter()
                os.kill(victim.pid, signal.SIGKILL)
                while True:
                    change = watcher.receive().get("params", {})
                    instance = change.get("Instance", {})
                    gone = change.get("Kind") == "gone" or instance.get("State") != CheckState.PASSING
                    if gone and instance.get("Uuid") == victim.id:
                        break
                times.append((time.perf_counter() - started) * 1e3)
    goal = "100 ms"
    return [
        Row(f"exit until deregistered and pushed, p50 of {kills}", median(times), "ms"),
        Row(f"exit until deregistered and pushed, p99 of {kills}", percentile(times, 0.99), "ms", goal=goal),
    ]
