"""An engine that hangs or is gone while its containers run: the stop is short, says what is left, and it is removed later."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from minikube.engine.command import project_mark
from tests.e2e.door import Door
from tests.e2e.engine import Built, docker
from tests.e2e.small import SLEEP, Small

pytestmark = pytest.mark.timeout(300)

BOXES = """
[services.first]
image = "IMAGE"
command = ["sleep", "1000"]
runtime = "container"

[services.second]
image = "IMAGE"
command = ["python3", "-m", "http.server", "8000"]
runtime = "container"
network = "project"
port = 8000
depends_on = { first = "started" }
"""
PLAIN = f"\n[services.plain]\n{SLEEP}"


@contextmanager
def gone(door: Door) -> Iterator[None]:
    """As an engine that was stopped, until it is started again."""
    door.close()
    try:
        yield
    finally:
        door.open()


@pytest.fixture
def door(tmp_path: Path, built: Built) -> Iterator[Door]:
    """The project's engine is behind it; the test's own `docker` is not."""
    with Door(tmp_path) as found:
        yield found


class Boxes(Small):
    """A project whose engine is behind the door."""

    def __init__(self, directory: Path, built: Built, door: Door) -> None:
        super().__init__(directory, BOXES.replace("IMAGE", built.base) + PLAIN)
        self.mark = project_mark(directory / ".minikube")
        self._door = door

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return super().command(*arguments, env={"DOCKER_HOST": self._door.host, **(env or {})})

    def left(self, kind: str = "ps --all") -> list[str]:
        """What the engine has of the project, told past the door."""
        return docker(*kind.split(), "--quiet", "--filter", f"label=mini-kube-discovery.mark={self.mark}").split()

    def run_all(self) -> None:
        self.up()
        for name in ("first", "second", "plain"):
            self.pid(name)


@pytest.mark.parametrize("away", [Door.hangs, gone])
def test_a_stop_without_the_engine_is_short_and_says_what_is_left(
    tmp_path: Path, built: Built, door: Door, away: Callable[[Door], AbstractContextManager[None]]
) -> None:
    """What runs is ended all the same, one patience for all is the engine's; the next `down` removes what it still has."""
    with Boxes(tmp_path, built, door) as boxes:
        boxes.run_all()
        pids = [boxes.pid(name) for name in ("first", "second", "plain")]
        with away(door):
            began = time.monotonic()
            told = boxes.run("down", code=1)
            took = time.monotonic() - began
            assert took < 15, told
            assert "stopped, but docker did not answer and still has" in told
            for name in ("-first", "-second", "-net"):
                assert name in told
            assert "`minikube up` or `minikube down` removes them" in told
            assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert len(boxes.left()) == 2
        assert "ended what an earlier run left" in boxes.run("down")
        assert boxes.left() == boxes.left("network ls") == []
        boxes.run("down", code=3)


def test_the_next_up_starts_without_the_engine_and_removes_what_is_left_once_it_answers(
    tmp_path: Path, built: Built, door: Door
) -> None:
    with Boxes(tmp_path, built, door) as boxes:
        boxes.run_all()
        with gone(door):
            boxes.run("down", code=1)
            assert "still has" in boxes.run("down", code=1)
            before = boxes.left()
        with door.hangs():
            boxes.write(BOXES.replace("IMAGE", built.base).partition("[services.second]")[0] + PLAIN)
            boxes.up()
            boxes.pid("plain")
            assert any("still has" in text for text in boxes.events("containers.not_removed"))
        boxes.pid("first")
        assert not set(boxes.left()) & set(before), "not those of a service that is gone either"
        boxes.run("down")
        assert boxes.left() == boxes.left("network ls") == []
        assert not (tmp_path / ".minikube" / "containers.json").exists()
