"""Fixtures that any test may use: programs that must be there, a real Redis, a clean environment."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.redis_server import RedisServer

IN_CI = bool(os.environ.get("CI"))


ENGINE = (
    *("test_container_keys", "test_container_network", "test_containers", "test_engine_away"),
    *("test_podman", "test_setups_podman", "test_up_containers"),
)
"""Files whose tests share images that take a minute to make, or the name server that all Podmans of root share."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Where several processes share the tests, each file stays in one of them, with what it has started."""
    return ByFile(config, log)


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """The files that share images count as one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "engine" if Path(file).stem in ENGINE else file


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that finds something missing skips itself. In CI, where root has all that is needed, that is a failure."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = (
            f"nothing may be missing in CI: {report.longrepr[2] if isinstance(report.longrepr, tuple) else ''}"
        )
    return report


def pytest_configure() -> None:
    """Give signals their default action where the run was started with them ignored: by `nohup`, or by `&` in a script.

    Every process of a test would ignore them as well.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """`need("go")` is the program's path. Without it the test is skipped."""

    def find(program: str) -> str:
        path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{program} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def as_root() -> None:
    """The test does what only root may."""
    if os.geteuid() != 0:
        pytest.skip("takes root")


@pytest.fixture
def as_nobody(as_root: None) -> Iterator[None]:
    """The test runs as a user that may not enter pytest's own directories."""
    os.seteuid(65_534)
    yield
    os.seteuid(0)


@pytest.fixture
def small_disk(tmp_path: Path, need: Callable[[str], str], as_root: None) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ("-t", "tmpfs", "-o", "size=2M,mode=0700")
    done = subprocess.run([need("mount"), *options, "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    yield place
    subprocess.run([need("umount"), "-l", place], check=True)


@pytest.fixture(params=["short path", "long path"])
def any_length(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory in which a unix socket has room for its path, and one in which it has none, wherever pytest's own is."""
    if request.param == "short path":
        place = Path(tempfile.mkdtemp(prefix="mk", dir="/tmp"))
        yield place
        shutil.rmtree(place)
    else:
        place = tmp_path / ("x" * 100)
        place.mkdir()
        yield place


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
    ours = {name for name in os.environ if name.startswith("MINIKUBE_") and not name.startswith("MINIKUBE_TEST_")}
    for name in (*ours, "REDIS_URL", "PORT", "HOST", "SERVICE_NAME", "INSTANCE_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _python_signals() -> Iterator[None]:
    """Ignore PIPE and XFSZ again after each test, as Python does: what prepares a process for exec gives them their defaults."""
    yield
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
