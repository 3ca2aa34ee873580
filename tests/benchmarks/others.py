"""Supervisors as the benchmark drives them: ours, supervisord, circus and pm2, each with the settings it comes with.

Only the time between TERM and KILL is the same for all (`STOP_S`), and that nothing rotates while lines are counted. Everything is
below one scratch directory; what is started there carries `MARK` in its environment, by which survivors are found.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.tools import HERE, READY_TIMEOUT_S, install, python_path
from tests.ports import free_port

MARK = "MINIKUBE_BENCHMARK"
STOP_S = 2
PM2 = "pm2@7.0.4"


@dataclass(frozen=True)
class Program:
    """One service: a name and what to execute."""

    name: str
    argv: tuple[str, ...]


class Supervisor(ABC):
    """One supervisor in a directory of its own. `pid` is its main process once it was started."""

    name = ""

    def __init__(self, home: Path, programs: Path, services: Sequence[Program]) -> None:
        self.home = home
        self.programs = programs
        self.services = services
        self.pid = 0
        self.env = {**python_path(), "PYTHONPATH": str(programs)}

    def marked(self, program: Program) -> list[str]:
        """The service's command, with a variable by which its processes are found."""
        return ["env", f"{MARK}={self.home}", *program.argv]

    @abstractmethod
    def start(self) -> None:
        """Begins everything; sets `pid`; need not wait for the services."""

    @abstractmethod
    def stop(self) -> None:
        """A graceful stop; returns when the supervisor says that it is over."""

    @abstractmethod
    def status(self) -> None:
        """The command by which a user asks how things are."""

    def own(self) -> list[int]:
        """Every process that belongs to the supervisor itself."""
        return [self.pid]

    def run(self, *argv: str) -> None:
        """One of its commands, to the end."""
        done = subprocess.run(
            argv,
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)}: {done.stdout.decode(errors='replace')}")

    def begin(self, *argv: str) -> subprocess.Popen[bytes]:
        """A program that stays."""
        with (self.home / "output").open("ab") as output:
            return subprocess.Popen(
                argv, cwd=self.home, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def survivors(self) -> list[int]:
        """Living processes that carry our mark."""
        wanted = f"{MARK}={self.home}".encode()
        found = []
        for entry in os.listdir("/proc"):
            with suppress(OSError):
                if entry.isdigit() and wanted in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
        return found

    def children(self) -> set[int]:
        """Processes that the main one has for children."""
        found: set[int] = set()
        with suppress(OSError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                with suppress(OSError):
                    found.update(map(int, (thread / "children").read_text().split()))
        return found

    def end(self) -> None:
        """Whatever is left of it and of its services is killed."""
        for pid in (*self.own(), *self.survivors()):
            if pid:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


class Foreground(Supervisor):
    """One that runs as our child."""

    server: subprocess.Popen[bytes] | None = None

    def wait_ended(self) -> None:
        """Until the supervisor's own process has ended."""
        assert self.server is not None
        self.server.wait(timeout=2 * READY_TIMEOUT_S)

    def end(self) -> None:
        super().end()
        if self.server is not None:
            self.server.wait()


class Minikube(Supervisor):
    """Ours: guardian, supervisor, registry and a private Redis."""

    name = "minikube"

    def start(self) -> None:
        lines = [f'[registry]\nlisten = "127.0.0.1:{free_port()}"', f'[control]\nlisten = "127.0.0.1:{free_port()}"']
        for program in self.services:
            lines.append(f"[services.{program.name}]\ncommand = {json.dumps(self.marked(program))}")
            lines.append(f'stop = {{ timeout = "{STOP_S}s" }}\nlogs = {{ max_size = "1G" }}')
        (self.home / "supervisor.toml").write_text('name = "bench"\n' + "\n".join(lines) + "\n")
        self.env.pop("PYTHONPATH")
        self._do("up", "-d")
        self.pid = self._known()["pid"]

    def stop(self) -> None:
        self._do("down")

    def status(self) -> None:
        self._do("ps")

    def own(self) -> list[int]:
        known = self._known()
        parts = [pid for pid in self.children() if pid not in self.survivors()]
        return [self.pid, known["guardian_pid"], *parts] if known else []

    def end(self) -> None:
        with suppress(SystemExit):
            self._do("down", "--now")  # its control groups as well
        super().end()

    def _known(self) -> dict[str, int]:
        with suppress(OSError, ValueError):
            found: dict[str, int] = json.loads((self.home / ".minikube" / "supervisor.json").read_text())
            return found
        return {}

    def _do(self, *arguments: str) -> None:
        self.run(sys.executable, "-m", "minikube", *arguments)


class Supervisord(Foreground):
    """PyPI's supervisor."""

    name = "supervisord"

    def start(self) -> None:
        sections = [
            f"[unix_http_server]\nfile = {self.home}/sock",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
            f"[supervisorctl]\nserverurl = unix://{self.home}/sock",
            f"[supervisord]\nnodaemon = true\nlogfile = {self.home}/supervisord.log\npidfile = {self.home}/pid\nuser = root",
        ]
        for program in self.services:
            sections.append(
                f"[program:{program.name}]\ncommand = {' '.join(self.marked(program))}\nstopwaitsecs = {STOP_S}\n"
                f"stdout_logfile = {self.home}/{program.name}.log\nstdout_logfile_maxbytes = 0"
            )
        (self.home / "settings").write_text("\n".join(sections))
        self.server = self.begin(sys.executable, "-m", "supervisor.supervisord", "-c", str(self.home / "settings"))
        self.pid = self.server.pid

    def stop(self) -> None:
        self._do("shutdown")
        self.wait_ended()

    def status(self) -> None:
        self._do("status")

    def _do(self, verb: str) -> None:
        self.run(sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.home / "settings"), verb)


class Circus(Foreground):
    """PyPI's circus."""

    name = "circus"
    endpoint = ""

    def start(self) -> None:
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        sections = [f"[circus]\nendpoint = {self.endpoint}\npubsub_endpoint = tcp://127.0.0.1:{free_port()}"]
        for program in self.services:
            sections.append(
                f"[watcher:{program.name}]\ncmd = {' '.join(self.marked(program))}\ngraceful_timeout = {STOP_S}\n"
                f"stdout_stream.class = FileStream\nstdout_stream.filename = {self.home}/{program.name}.log"
            )
        (self.home / "settings").write_text("\n".join(sections))
        self.server = self.begin(sys.executable, "-m", "circus.circusd", str(self.home / "settings"))
        self.pid = self.server.pid

    def stop(self) -> None:
        self._do("quit")
        self.wait_ended()

    def status(self) -> None:
        self._do("status")

    def _do(self, verb: str) -> None:
        self.run(sys.executable, "-m", "circus.circusctl", "--endpoint", self.endpoint, "--timeout", "60", verb)


class Pm2(Supervisor):
    """npm's pm2: a daemon that its command starts."""

    name = "pm2"

    def start(self) -> None:
        self.env["PM2_HOME"] = str(self.home / "pm2")
        apps = []
        for program in self.services:
            command, *arguments = self.marked(program)
            log = str(self.home / f"{program.name}.log")
            apps.append(
                {
                    "name": program.name,
                    "script": shutil.which(command),
                    "args": arguments,
                    "interpreter": "none",
                    "kill_timeout": 1000 * STOP_S,
                    "out_file": log,
                    "error_file": log,
                }
            )
        (self.home / "ecosystem.json").write_text(json.dumps({"apps": apps}))
        self._do("start", "ecosystem.json")
        self.pid = int((self.home / "pm2" / "pm2.pid").read_text())

    def stop(self) -> None:
        self._do("kill")
        wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), "pm2's daemon to end")

    def status(self) -> None:
        self._do("ls")

    def _do(self, *arguments: str) -> None:
        self.run("node", str(self.programs / "node_modules" / "pm2" / "bin" / "pm2"), "--silent", *arguments)


def install_others(directory: Path) -> list[type[Supervisor]]:
    """Install the other supervisors into `directory`, unless they are there; return which can run: pm2 needs npm."""
    if not (directory / "supervisor").exists():
        install(directory, HERE / "peers.lock")
    kinds: list[type[Supervisor]] = [Minikube, Supervisord, Circus]
    if shutil.which("npm") is None:
        print("pm2 is left out: there is no npm here", flush=True)
        return kinds
    if not (directory / "node_modules" / "pm2").exists():
        quiet = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
        subprocess.run(
            ["npm", "install", *quiet, "--prefix", str(directory), PM2], check=True, stdout=subprocess.DEVNULL
        )
    return [*kinds, Pm2]


def wait_until(
    done: Callable[[], bool], what: str, every: float = 0.001, patience: float = 2 * READY_TIMEOUT_S
) -> float:
    """The time (`perf_counter`) at which it is so."""
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {patience:g} s for {what}")
        time.sleep(every)
    return time.perf_counter()
