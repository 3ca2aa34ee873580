"""What `minikube init --template NAME` writes runs at once."""

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.small import AUTO, Small
from tests.eventually import eventually
from tests.redis_server import server_command


class Fresh(Small):
    """A directory with what a template writes, on ports of its own."""

    def __init__(self, directory: Path, template: str) -> None:
        directory.mkdir()
        self.directory = directory
        self.path = directory / "supervisor.toml"
        self.run("init", "--template", template)
        with self.path.open("a") as file:
            file.write(f"\n{AUTO}")

    def fetch(self, service: str, path: str = "/", data: bytes | None = None) -> str:
        row = self.instance(service)
        assert row is not None
        with urllib.request.urlopen(f"http://{row.address}{path}", data, timeout=10) as reply:
            return str(reply.read().decode())


def test_node(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    with Fresh(tmp_path / "shop", "node") as fresh:
        fresh.up("--wait")
        assert fresh.fetch("web", "/x") == "Hello from web: GET /x\n"


def test_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    monkeypatch.setenv("CGO_ENABLED", "0")  # as tests.e2e.golang, whose cache this build shares
    with Fresh(tmp_path / "shop", "go") as fresh:
        fresh.up("--wait")
        assert fresh.fetch("web", "/x") == "Hello from web: GET /x\n"


def test_web_worker_db_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders go through the database to the workers, which all find by the registry."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(server_command())
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(programs))  # neither Docker nor Podman
    project = Fresh(tmp_path / "shop", "web-worker-db")
    monkeypatch.setenv("PATH", f"{programs}:{path}")
    with project as fresh:
        fresh.up("--wait")
        assert fresh.fetch("web", data=b"") == '{"order": 1}'
        eventually(lambda: fresh.fetch("web") == '{"waiting": 0, "done": 1}', what="the order is done")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the packages of the templates, without pip: an `.venv` to copy."""
    environment = tmp_path_factory.mktemp("packages") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-compile", "django", "fastapi", "uvicorn"], check=True)
    return environment


@pytest.mark.parametrize(
    ("template", "reply"),
    [("django", '{"hello": "from Django", "users": 0}'), ("fastapi", '{"hello":"from FastAPI"}')],
)
def test_python(template: str, reply: str, packages: Path, tmp_path: Path) -> None:
    with Fresh(tmp_path / "shop", template) as fresh:
        (fresh.directory / ".venv").symlink_to(packages)
        (packages / "installed").touch()  # newer than requirements.txt: nothing is installed again
        fresh.up("--wait")
        assert fresh.fetch("web") == reply
