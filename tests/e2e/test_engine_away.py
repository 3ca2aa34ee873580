"""An engine hangs or is stopped while its containers run: the stop is short and names what a later command has to remove."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from minikube.engine.command import project_mark
from tests.e2e.engine import Built, docker
from tests.e2e.engine_proxy import EngineProxy
from tests.e2e.small import SLEEP, Small

pytestmark = pytest.mark.timeout(300)

SERVICES = """
[services.first]
image = "IMAGE"
command = ["sleep", "1000"]
runtime = "container"

[services.second]
image = "IMAGE"
command = ["python3", "-m", "http.server", "8000"]
port = "auto"
container_port = 8000
depends_on = { first = "started" }
"""
PLAIN = f"\n[services.plain]\n{SLEEP}"


@contextmanager
def stopped(proxy: EngineProxy) -> Iterator[None]:
    """Stop the engine, as the project sees it, for the time of the block."""
    proxy.close()
    try:
        yield
    finally:
        proxy.open()


@pytest.fixture
def proxy(tmp_path: Path, built: Built) -> Iterator[EngineProxy]:
    """A proxy between the project and the engine; the test's own `docker` goes past it."""
    with EngineProxy(tmp_path) as found:
        yield found


class Containers(Small):
    """A project that reaches the engine through the proxy."""

    def __init__(self, directory: Path, built: Built, proxy: EngineProxy) -> None:
        super().__init__(directory, SERVICES.replace("IMAGE", built.base) + PLAIN)
        self.mark = project_mark(directory / ".minikube")
        self._proxy = proxy

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return super().command(*arguments, env={"DOCKER_HOST": self._proxy.host, **(env or {})})

    def left(self, kind: str = "ps --all") -> list[str]:
        """Return what the engine has of the project."""
        return docker(*kind.split(), "--quiet", "--filter", f"label=mini-kube-discovery.mark={self.mark}").split()

    def run_all(self) -> None:
        self.up()
        for name in ("first", "second", "plain"):
            self.pid(name)


@pytest.mark.parametrize("away", [EngineProxy.hangs, stopped])
def test_a_stop_without_the_engine_is_short_and_names_the_leftovers(
    tmp_path: Path, built: Built, proxy: EngineProxy, away: Callable[[EngineProxy], AbstractContextManager[None]]
) -> None:
    """All processes are ended, the engine costs one time-out in all, and the next `down` removes what it still has."""
    with Containers(tmp_path, built, proxy) as project:
        project.run_all()
        pids = [project.pid(name) for name in ("first", "second", "plain")]
        with away(proxy):
            began = time.monotonic()
            output = project.run("down", code=1)
            took = time.monotonic() - began
            assert took < 15, output
            assert "stopped, but docker did not answer and still has" in output
            for name in ("-first", "-second", "-net"):
                assert name in output
            assert "`minikube up` or `minikube down` removes them" in output
            assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert len(project.left()) == 2
        assert "ended what an earlier run left" in project.run("down")
        assert project.left() == project.left("network ls") == []
        project.run("down", code=3)


def test_the_next_up_starts_without_the_engine_and_removes_what_is_left_once_it_answers(
    tmp_path: Path, built: Built, proxy: EngineProxy
) -> None:
    with Containers(tmp_path, built, proxy) as project:
        project.run_all()
        with stopped(proxy):
            project.run("down", code=1)
            assert "still has" in project.run("down", code=1)
            before = project.left()
        with proxy.hangs():
            project.write(SERVICES.replace("IMAGE", built.base).partition("[services.second]")[0] + PLAIN)
            project.up()
            project.pid("plain")
            assert any("still has" in text for text in project.events("containers.not_removed"))
        project.pid("first")
        assert not set(project.left()) & set(before), "a removed service's container must be removed too"
        project.run("down")
        assert project.left() == project.left("network ls") == []
        assert not (tmp_path / ".minikube" / "containers.json").exists()
