"""Docker's engine of a run's own: storage, socket, network and control group are the run's, and no image is pulled.

The image is an empty root directory; its containers mount this machine's `/usr` and Python. It refuses to use an engine
that already runs.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import trio

PROGRAMS = ("dockerd", "docker", "containerd", "runc")
IMAGE = "chaos:latest"
LABEL = "mini-kube-discovery.mark"
START_S = 60.0
"""A killed engine first ends the containers that it finds when it starts again."""
STOP_S = 20.0
COMMAND_S = 60.0
POLL_S = 0.1
LOG_BYTES = 2_000
MOUNTS = Path("/proc/self/mounts")
PYTHON = os.path.realpath(sys.executable)
"""The interpreter without its virtual environment: containers get its directory."""


class EngineFailed(Exception):
    """The engine did not start, or refused a command."""


def missing() -> str:
    """Return which program of the engine is not installed; empty where all are."""
    return next((f"{name} is not installed" for name in PROGRAMS if shutil.which(name) is None), "")


def mounted() -> tuple[str, ...]:
    """Return the directories of this machine that a container needs to run Python's standard library."""
    prefix = os.path.realpath(sys.base_prefix)
    return ("/usr",) if prefix == "/usr" or prefix.startswith("/usr/") else ("/usr", prefix)


def image() -> bytes:
    """Return the archive of the image: the links into `/usr` at the root of this machine, and nothing else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(Path("/").iterdir()):
            if path.is_symlink() and os.readlink(path).lstrip("/").startswith("usr/"):
                link = tarfile.TarInfo(path.name)
                link.type, link.linkname = tarfile.SYMTYPE, os.readlink(path)
                tar.addfile(link)
        place = tarfile.TarInfo("tmp")
        place.type, place.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(place)
    return archive.getvalue()


class Engine:
    """The engine in `directory`. The network namespace and the mounts of the caller are its own, too."""

    def __init__(self, directory: Path) -> None:
        self.host = engine_host(directory)
        self.version = ""
        self._directory = directory
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int:
        """The pid of `dockerd`; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    async def open(self) -> None:
        """Start the engine, and give it the image. Raises `EngineFailed`."""
        self._directory.mkdir(exist_ok=True)
        # Not /etc/docker/daemon.json, which is for the machine's own engine.
        (self._directory / "daemon.json").write_text("{}")
        await self.start()
        self.version = await self.run("version", "--format", "{{.Server.Version}}")
        await self.run("import", "-", IMAGE, stdin=image())

    async def start(self) -> None:
        """Start the engine and wait until it answers. Raises `EngineFailed`."""
        place = self._directory
        options = {
            "--host": self.host,
            "--config-file": f"{place}/daemon.json",
            "--data-root": f"{place}/data",
            "--exec-root": f"{place}/exec",
            "--pidfile": f"{place}/dockerd.pid",
            "--cgroup-parent": f"/{cgroup_name(place.parent)}",
            "--exec-opt": "native.cgroupdriver=cgroupfs",
        }
        with (place / "dockerd.log").open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                ["dockerd", *(word for option in options.items() for word in option)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with trio.move_on_after(START_S):
            while self._process.poll() is None:
                with suppress(EngineFailed):
                    await self.run("version")
                    return
                await trio.sleep(POLL_S)
        text = (place / "dockerd.log").read_text("utf-8", "replace")[-LOG_BYTES:]
        raise EngineFailed(f"the container engine did not start: {text}")

    async def kill(self) -> None:
        """Kill the engine; its containers run on."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop the engine, and kill it where it does not end in time."""
        with trio.move_on_after(STOP_S):
            await self._end(signal.SIGTERM)
            return
        await self.kill()

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """Stop the engine's process with SIGSTOP: commands are accepted and not answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let the engine's process go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def run(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run one `docker` command, and return its output. Raises `EngineFailed` and `trio.TooSlowError`."""
        with trio.fail_after(COMMAND_S):
            done = await trio.run_process(
                ["docker", *arguments],
                env={**os.environ, "DOCKER_HOST": self.host},
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        if done.returncode:
            text = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
            raise EngineFailed(f"docker {' '.join(arguments)}: {text}")
        return done.stdout.decode("utf-8", "replace").strip()

    async def left(self) -> list[str]:
        """Return the containers of all kinds and the project's networks that the engine has."""
        containers = await self.run("ps", "--all", "--format", "container {{.Names}}, {{.Status}}")
        networks = await self.run("network", "ls", "--filter", f"label={LABEL}", "--format", "network {{.Name}}")
        return [*containers.splitlines(), *networks.splitlines()]


def engine_host(directory: Path) -> str:
    """Return the value of DOCKER_HOST for the engine in a directory, also where none runs there."""
    return f"unix://{directory}/docker.sock"


def cgroup_name(directory: Path) -> str:
    """Return the name of the control group for all containers of the run in `directory`."""
    return directory.name


def remove_cgroups(directory: Path) -> None:
    """Remove the control groups of the containers of the run in `directory`, which has ended."""
    for line in MOUNTS.read_text().splitlines():
        _, place, kind, *_ = line.split()
        top = Path(place, cgroup_name(directory))
        if kind.startswith("cgroup") and top.is_dir():
            for path in sorted((top, *top.rglob("*/")), reverse=True):
                with suppress(OSError):
                    path.rmdir()
