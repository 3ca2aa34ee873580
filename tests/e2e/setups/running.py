"""A set-up of tests/e2e/setups: a Compose project, imported, and run by the real command in an engine's containers."""

import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from minikube import blocking
from minikube.engine.command import project_mark
from minikube.importers import import_source, write_manifest
from minikube.manifest import load_manifest
from minikube.model import InstanceView
from tests.e2e.small import AUTO, Small
from tests.ports import free_ports

FILES = Path(__file__).parent
PART = FILES / "image" / "usr" / "local" / "bin" / "part"
"""The programs of the set-ups' services, which run on this machine, too."""

PORT_VARIABLE = re.compile(r"\$\{([A-Z_]*PORT)[:}]")
MOUNT_FORM = "{{range .Mounts}}{{.Name}} {{end}}"


class Setup(Small):
    """A set-up in `directory`. Its variables `${APP}` and `${ENTRY}` are images, each `${…_PORT}` is a free port.

    `engine` is the program of the engine. `override` is a `supervisor.override.toml`.
    """

    patience = 150

    def __init__(self, name: str, directory: Path, engine: str, images: Mapping[str, str], override: str = "") -> None:
        self.name = name
        self.directory = directory / name
        shutil.copytree(FILES / name, self.directory)
        self.path = self.directory / "supervisor.toml"
        self.engine = engine
        text = "".join(path.read_text() for path in self.directory.glob("*.yaml"))
        names = sorted(set(PORT_VARIABLE.findall(text)))
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.variables = {**images, **{port: str(number) for port, number in self.ports.items()}}
        self.path.write_text(write_manifest(import_source(self.directory, None)))
        head = f'{AUTO}[containers]\nengine = "{engine}"\n'
        (self.directory / "supervisor.override.toml").write_text(head + override)

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return super().command(*arguments, env={**self.variables, "DOCKER_BUILDKIT": "0", **(env or {})})

    def ask_engine(self, *words: str) -> str:
        done = subprocess.run([self.engine, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{self.engine} {words[0]}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def page(self, service: str, path: str = "/", port: str = "") -> str:
        """Return a page of a service at the port of this machine, that of the variable `port` or the registered one."""
        address = f"127.0.0.1:{self.ports[port]}" if port else self.row(service).local_address
        request = urllib.request.Request(f"http://{address}{path.replace(' ', '%20')}")
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                text: str = reply.read().decode().strip()
                return text
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{service}{path}: {error.code} {error.read().decode()}") from None

    def row(self, service: str) -> InstanceView:
        found = self.instance(service)
        assert found is not None, f"{service} does not run"
        return found

    @property
    def label(self) -> str:
        """The label of all that belongs to this project at the engine, as a filter."""
        return f"label=mini-kube-discovery.mark={project_mark(self.directory / '.minikube')}"

    def containers(self, *which: str) -> list[str]:
        """Return the ids of this project's containers, all or those that run (`--filter status=running`)."""
        return self.ask_engine("ps", *(which or ("--all",)), "--quiet", "--filter", self.label).split()

    def check_names(self, further: Iterable[str] = ()) -> None:
        """Assert that all running services are reached by name from every container, and at their ports from this machine.

        `further` are targets of which the manifest does not know, `cache:6379`.
        """
        services = load_manifest(self.directory, self.variables).services
        status = self.status()
        rows = [row for row in status.instances if row.state == "running"]
        inside, outside = set(further), set[str]()
        for row in rows:
            spec = services[row.service]
            if row.address:
                number = spec.container_port or int(row.address.rpartition(":")[2])
                inside.add(f"{spec.name}:{number}")
                outside |= {row.local_address, str(blocking.discover(spec.name, address=status.registry))}
            for name, port in spec.ports.items():
                suffix = "/udp" if port.protocol == "udp" else ""
                inside.add(f"{spec.name}:{port.container_port or row.ports[name]}{suffix}")
                outside.add(f"127.0.0.1:{row.ports[name]}{suffix}")
        own = subprocess.run(
            [sys.executable, str(PART), "wait-for", *outside], capture_output=True, text=True, timeout=60
        )
        assert own.returncode == 0, f"from this machine: {own.stderr}"
        for container in self.containers("--filter", "status=running"):
            self.ask_engine("exec", container, "part", "wait-for", *sorted(inside))

    def down(self) -> None:
        """Stop the project. Assert that no container, no network and no anonymous volume is left."""
        containers = self.containers()
        volumes = set(self.ask_engine("inspect", "--format", MOUNT_FORM, *containers).split()) if containers else set()
        self.run("down")
        assert self.containers() == []
        assert self.ask_engine("network", "ls", "--quiet", "--filter", self.label) == ""
        left = volumes & set(self.ask_engine("volume", "ls", "--quiet").split())
        assert all(name.startswith("minikube-") for name in left), "named volumes only"

    def end(self) -> None:
        """Stop what still runs, if anything, and remove named volumes and built images, which a project leaves on purpose."""
        if (self.directory / ".minikube" / "supervisor.json").exists():
            self.command("down", "--now")
        mark = project_mark(self.directory / ".minikube")[:8]
        if volumes := self.ask_engine("volume", "ls", "--quiet", "--filter", f"name=-{mark}-").split():
            self.ask_engine("volume", "rm", *volumes)
        if images := self.ask_engine("image", "ls", "--quiet", f"minikube-*-{mark}-*").split():
            self.ask_engine("image", "rm", "--force", *images)
