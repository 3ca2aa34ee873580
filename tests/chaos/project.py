"""The project of a chaos run: a service of every kind, and the command `minikube` on it."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import trio

from minikube.control.client.blocking import ControlClient, find_supervisor
from minikube.model import Snapshot
from minikube.project_dir import SupervisorRecord, project_dir, read_supervisor_record
from minikube.supervisor.backing.redis_program import PROGRAM_ENV, find_redis
from tests.chaos import engine
from tests.untraced import untraced

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("service.py")
SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock")
FAKETIME = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")
"""What moves the clock of Redis; empty where it is not installed."""
REDIS_SCRIPT = """\
#!/bin/sh
export LD_PRELOAD="{library}" FAKETIME_TIMESTAMP_FILE="{clock}" FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1
exec "{redis}" "$@"
"""
REGISTRY_PORT = 5555
CONTROL_PORT = 5556
"""In a network namespace of its own nothing else has them."""
COMMAND_S = 120.0
"""A command that takes longer hangs."""
HEAD = f"""\
name = "chaos"

[registry]
listen = "127.0.0.1:{REGISTRY_PORT}"

[control]
listen = "127.0.0.1:{CONTROL_PORT}"
"""


@dataclass(frozen=True)
class Service:
    """One service of the project: what its program does, and how it is registered and checked."""

    name: str
    kind: str
    keys: tuple[str, ...] = ()
    replicas: int = 1
    port: str = '"auto"'
    register: str = "supervisor"
    is_reported: bool = False
    """Whether the supervisor or the service itself reports the check, so that a pause of the reporter ends its lease."""
    hang_is_seen: bool = True
    """Whether the check of a stopped process fails."""
    is_restarted: bool = False
    """Whether a check that fails has it restarted."""
    is_task: bool = False
    in_container: bool = False
    depends_on: tuple[str, ...] = field(default=())

    @property
    def is_registered(self) -> bool:
        """Whether its instances are found in the registry."""
        return bool(self.port)

    def toml(self, births: Path, replicas: int) -> str:
        """Return the service's table of the manifest. A container gets the socket `births`."""
        python = engine.PYTHON if self.in_container else sys.executable
        lines = [
            f"[services.{self.name}]",
            f'command = ["{python}", "{PROGRAM}", "{self.kind}"]',
            f"replicas = {replicas}",
            *([f"port = {self.port}"] if self.port else []),
            *([f'register = "{self.register}"'] if self.register != "supervisor" else []),
            *self.keys,
        ]
        if self.depends_on:
            lines.append(f"depends_on = {{ {', '.join(self.depends_on)} }}")
        if not self.is_task:
            lines.append('restart = { delay = "0.2s", max_delay = "2s", limit = 1000 }')
        if self.in_container:
            mounts = [f'"{path}:{path}:ro"' for path in (*engine.mounted(), PROGRAM)] + [f'"{births}:{births}"']
            lines += [f'image = "{engine.IMAGE}"', 'pull = "never"', f"volumes = [{', '.join(mounts)}]"]
            lines.append('runtime = "container"')
        lines.append('logs = { max_size = "1M", keep = 2 }')
        return "\n".join(lines)


HTTP = 'health = "/health"'
COMMAND = 'health = { command = ["bash", "-c", "exec 3<>/dev/tcp/$HOST/$PORT"], interval = "1s" }'
RESTARTED = 'health = { http = "/health", interval = "1s", timeout = "1s", restart_after = 3 }'
NETWORKED = "networked"
"""The service of a container with an address of its own, on the project's network."""
CONTAINER_SERVICES = (
    Service("container", "idle", (HTTP, 'network = "host"'), in_container=True),
    Service(NETWORKED, "idle", (RESTARTED,), port="7074", is_restarted=True, in_container=True),
)
SERVICES: tuple[Service, ...] = (
    Service("migrate", "task", ('restart = "never"',), port="", is_task=True),
    Service("trio", "trio", (HTTP,), 2, register="self", depends_on=('migrate = "completed"',)),
    Service("asyncio", "asyncio", (HTTP,), port="7071", register="self"),
    Service("blocking", "blocking", (HTTP,), register="self", depends_on=('trio = "healthy"',)),
    Service("ttl", "ttl", (), port="7072", register="self", is_reported=True),
    Service("http", "idle", (HTTP, 'tags = ["a"]'), 2),
    Service("tcp", "idle", ("health = { tcp = true }",), hang_is_seen=False),
    Service("command", "idle", (COMMAND,), is_reported=True, hang_is_seen=False),
    Service("log", "idle", ('health = { log = "ready to serve" }',), is_reported=True, hang_is_seen=False),
    Service("tree", "tree", (HTTP,), port="7073"),
    Service("flood", "flood", (), port=""),
    Service("tick", "task", ('schedule = "every 3s"', 'restart = "never"'), port="", is_task=True),
    *(() if engine.missing() else CONTAINER_SERVICES),
)
CONTAINERS = tuple(service.name for service in SERVICES if service.in_container)
WRITER = "flood"
"""The service that numbers its lines."""
BY_NAME = {service.name: service for service in SERVICES}
UNPRIVILEGED = "-dac_override,-dac_read_search"
"""Without these capabilities the modes of files hold for root as they do for any user."""
LIMITED = ("setpriv", f"--bounding-set={UNPRIVILEGED}", f"--inh-caps={UNPRIVILEGED}")


class CommandFailed(Exception):
    """A command of `minikube` exited with another code than it should have."""


class Project:
    """The manifest in `directory`, and what is asked of the supervisor that runs it."""

    def __init__(self, directory: Path, births: Path) -> None:
        self.directory = directory
        self.manifest = directory / "supervisor.toml"
        self.state = project_dir(self.manifest)
        self.replicas = {service.name: service.replicas for service in SERVICES}
        self.edits: dict[str, int] = {}
        """How often the environment of a service was changed."""
        self._clock = directory.parent / "clock"
        path = f"{SHIFTED_CLOCK}:{ROOT}"
        self.environment = {
            **untraced(),
            "PYTHONPATH": path,
            "CHAOS_CLOCK": str(self._clock),
            # Never the machine's own engine.
            "DOCKER_HOST": engine.engine_host(directory.parent / "engine"),
        }
        self._births = births
        if FAKETIME:
            redis = directory.parent / "redis-server"
            redis.write_text(REDIS_SCRIPT.format(library=FAKETIME, clock=self._clock, redis=find_redis(os.environ)))
            redis.chmod(0o755)
            self.environment[PROGRAM_ENV] = str(redis)
        self._clock.write_text("+0")

    async def set_clock(self, offset: str) -> None:
        """Set the clock of the project's processes that many seconds off the machine's."""
        await trio.Path(self._clock).write_text(offset)

    def text(self) -> str:
        """Return the manifest with the present numbers of replicas."""
        shared = f'CHAOS_BIRTHS = "{self._births}"'
        tables = [
            f"{service.toml(self._births, self.replicas[service.name])}\n"
            f'env = {{ {shared}, EDIT = "{self.edits.get(service.name, 0)}" }}'
            for service in SERVICES
        ]
        return "\n\n".join([HEAD, *tables]) + "\n"

    def write(self, text: str | None = None) -> None:
        """Replace the manifest in one step, as editors do."""
        fresh = self.manifest.with_name(".fresh.toml")
        fresh.write_text(self.text() if text is None else text)
        os.replace(fresh, self.manifest)

    async def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command of `minikube`, which has to exit with one of `codes`, and return both its outputs.

        Raises `CommandFailed`; `trio.TooSlowError` after `COMMAND_S`."""
        command = [*LIMITED, sys.executable, "-m", "minikube", *arguments]
        with trio.fail_after(COMMAND_S):
            done = await trio.run_process(
                command,
                cwd=self.directory,
                env=self.environment,
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        text = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        if done.returncode not in codes:
            raise CommandFailed(f"minikube {' '.join(arguments)} exited with {done.returncode}: {text}")
        return text

    def snapshot(self) -> Snapshot:
        """Return the state of the project. Blocks; raises `MinikubeError` and OSError."""
        with ControlClient(find_supervisor(self.manifest)) as client:
            return client.status()

    def record(self) -> SupervisorRecord | None:
        """Return the pids of supervisor and guardian; None where there is none."""
        return read_supervisor_record(self.state)
