"""A small project of a test's own, run by the real command on free ports: any manifest, edited at will."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from minikube.control.client.blocking import ControlClient, find_supervisor
from minikube.errors import MinikubeError
from minikube.model import InstanceView, Snapshot
from tests.eventually import eventually
from tests.untraced import UNTRACED, untraced

T = TypeVar("T")
MINIKUBE = (sys.executable, "-m", "minikube")
PATIENCE_S = 60
AUTO = '[registry]\nlisten = "auto"\n[control]\nlisten = "auto"\n'
SLEEP = 'command = ["sleep", "1000"]\n'
READY = SLEEP + 'health = { command = ["true"], interval = "1h" }\n'
"""The same, and ready at its first check; without one it is ready after a second. For tests of something else."""
TRACED = ("up", "down", "run", "exec", "shell")
"""Commands whose coverage is counted here. The others only ask the supervisor, and have their tests in tests/integration."""


class Small:
    """`with Small(tmp_path, services) as small`: the manifest is written; whatever runs at the end is ended at once."""

    patience = PATIENCE_S
    """How many seconds a command may take."""

    def __init__(self, directory: Path, services: str = "") -> None:
        self.directory = directory
        self.path = directory / "supervisor.toml"
        self.write(services)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.command("down", "--now", env=UNTRACED)

    def write(self, services: str) -> None:
        """Write the file as an editor saves it: the program never reads half of it."""
        fresh = self.directory / ".supervisor.toml.new"
        fresh.write_text(AUTO + services)
        fresh.replace(self.path)

    def edit(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.write(text.removeprefix(AUTO).replace(old, new))

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of `minikube` in the project."""
        base = os.environ if arguments[0] in TRACED else untraced()
        return subprocess.run(
            [*MINIKUBE, *arguments],
            cwd=self.directory,
            env={**base, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.patience,
        )

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run a command that has to exit with `code`, and return what it prints on both streams."""
        done = self.command(*arguments)
        text = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{arguments} exited with {done.returncode}: {text}"
        return text

    def up(self, *arguments: str) -> str:
        return self.run("up", "-d", *arguments)

    def ask(self, question: Callable[[ControlClient], T]) -> T:
        with ControlClient(find_supervisor(self.path)) as client:
            return question(client)

    def status(self) -> Snapshot:
        return self.ask(lambda client: client.status())

    def instance(self, name: str) -> InstanceView | None:
        """Return the row of the instance with this name, or of the service with this name."""
        try:
            rows = self.status().instances
        except MinikubeError:
            return None
        return next((row for row in rows if name in (row.name, row.service)), None)

    def states(self) -> dict[str, str]:
        """Return the state of each instance, by its name."""
        return {row.name: str(row.state) for row in self.status().instances}

    def pid(self, name: str) -> int:
        """Wait until the instance runs, and return its pid."""
        found = eventually(lambda: (row := self.instance(name)) and row.state == "running" and row.pid, what=name)
        assert isinstance(found, int)
        return found

    def until(self, name: str, state: str) -> InstanceView:
        """Wait until the instance is in that state, and return its row."""
        row = eventually(lambda: (row := self.instance(name)) and row.state == state and row, what=f"{name} {state}")
        assert isinstance(row, InstanceView)
        return row

    def events(self, kind: str = "") -> list[str]:
        """Return the messages of all events whose kind begins with `kind`."""
        found = self.ask(lambda client: client.events(0)).events
        return [event.message for event in found if event.kind.startswith(kind)]

    def lines(self, name: str) -> list[str]:
        return [line.line for batch in self.ask(lambda client: list(client.log_batches((name,)))) for line in batch]
