"""Wheel and source archive, built as in docs/operations.md: their contents, and a project that runs from the wheel."""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import minikube
from tests.documents import find
from tests.e2e.running import ROOT
from tests.eventually import eventually
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(300)

PACKAGES = ("minikube", "tui")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the built files. The build prints only their names."""
    directory = tmp_path_factory.mktemp("dist")
    (line,) = [line for block in find("sh", "build") for line in block.text.splitlines() if "hatchling" in line]
    program = line.replace(".venv/bin", str(Path(sys.executable).parent)).split()
    done = subprocess.run([*program, "-d", str(directory)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"(?i)warning|deprecat", done.stdout + done.stderr)
    return directory


def files(archive: Path) -> dict[str, bytes]:
    """Names and contents."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as source:
        found = {}
        for member in source.getmembers():
            if member.isfile():
                content = source.extractfile(member)
                assert content is not None
                found[member.name.partition("/")[2]] = content.read()
        return found


def sources() -> dict[str, bytes]:
    """What the repository has of the packages."""
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name: (ROOT / name).read_bytes() for name in tracked.stdout.split() if (ROOT / name).is_file()}


def test_both_bear_the_one_version(built: Path) -> None:
    name = f"mini_kube_discovery-{minikube.__version__}"
    assert sorted(path.name for path in built.iterdir()) == [f"{name}-py3-none-any.whl", f"{name}.tar.gz"]


def test_the_wheel_is_the_packages_and_nothing_else(built: Path) -> None:
    """Code, types, styles and licence; no services, no tests."""
    (wheel,) = built.glob("*.whl")
    found = files(wheel)
    about = f"mini_kube_discovery-{minikube.__version__}.dist-info"
    code = {name: content for name, content in found.items() if not name.startswith(about)}
    assert code == sources()
    assert {"minikube/py.typed", "tui/dashboard.tcss"} <= code.keys()
    assert found[f"{about}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"minikube = minikube.cli:main" in found[f"{about}/entry_points.txt"]


def test_the_source_archive_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").iterdir()}
    extra = pages | {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", ".gitignore", "PKG-INFO"}
    assert files(archive).keys() == sources().keys() | extra
    with tarfile.open(archive) as source:
        source.extractall(tmp_path, filter="data")
    (directory,) = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    assert files(next(tmp_path.glob("*.whl"))) == files(next(built.glob("*.whl")))


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it, its dependencies at the versions of the lock; its `bin`."""
    directory = tmp_path_factory.mktemp("installed")
    pins = re.findall(r"(?m)^([a-z0-9-]+)(?:\[.*\])?(==[^\s;]+)", (ROOT / "requirements.lock").read_text())
    (directory / "constraints.txt").write_text("\n".join(map("".join, pins)))  # which know no extras
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    pip = [str(directory / "venv" / "bin" / "pip"), "install", "-q", "--no-compile", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "-c", str(directory / "constraints.txt"), str(next(built.glob("*.whl")))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return directory / "venv" / "bin"


def test_the_wheel_alone_makes_a_first_project_run(installed: Path, tmp_path: Path) -> None:
    """`minikube init && minikube up`, far from the checkout."""

    def run(*arguments: str) -> str:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(
            [str(installed / "minikube"), *arguments],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("init")
    registry, control = free_ports(2)
    with (tmp_path / "supervisor.toml").open("a") as manifest:
        manifest.write(f'\n[registry]\nlisten = "127.0.0.1:{registry}"\n\n[control]\nlisten = "127.0.0.1:{control}"\n')
    run("up", "-d")
    try:
        run("wait", "web")
        eventually(lambda: "answers 200" in run("logs", "clock"), 15, "clock finds web")
        rows = json.loads(run("ps", "--json"))
        assert sorted(row["name"] for row in rows) == ["clock", "web-1", "web-2"]
    finally:
        run("down")
