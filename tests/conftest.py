"""Fixtures that any test may use: programs that must be there, a real Redis, a clean environment."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer

IN_CI = bool(os.environ.get("CI"))


@pytest.fixture
def need() -> Callable[[str], str]:
    """`need("go")` is the program's path. Without it the test is skipped; in CI nothing may be missing: it fails."""

    def find(program: str) -> str:
        path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
        if path is None:
            (pytest.fail if IN_CI else pytest.skip)(f"{program} is not installed")
        return path

    return find


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis of the test's own on a unix socket, append-only file on, to be killed and restarted at will."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory that is also the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings reach no test."""
    for name in (
        "MINIKUBE_REGISTRY",
        "MINIKUBE_REGISTRY_TOKEN",
        "REDIS_URL",
        "PORT",
        "HOST",
        "SERVICE_NAME",
        "INSTANCE_ID",
    ):
        monkeypatch.delenv(name, raising=False)
