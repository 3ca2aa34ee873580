"""A project is its directory: what becomes of it while it runs, and which commands still find and end it."""

import errno
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest

from minikube.control.client.blocking import ControlClient
from minikube.linux import processes
from minikube.model import PartView
from minikube.project.redis_socket import find_redis_socket
from tests.e2e.small import MINIKUBE, READY, Small
from tests.eventually import eventually
from tests.untraced import untraced

X = "[services.x]\n" + READY
NOBODY = 65534


def remove(path: Path) -> None:
    """Delete a directory as `rm -rf` does, again where the supervisor has made a file in it meanwhile."""
    deleted = False
    while not deleted:
        try:
            shutil.rmtree(path)
            deleted = True
        except FileNotFoundError:  # a temporary file of the supervisor's, or the directory itself
            deleted = not path.exists()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise


def gone(*pids: int) -> Callable[[], bool]:
    return lambda: not any(map(processes.is_alive, pids))


def test_a_deleted_state_directory_costs_no_process_and_every_command_works(tmp_path: Path) -> None:
    with Small(tmp_path, X) as small:
        small.up("--wait")
        pid, supervisor = small.pid("x"), small.status().pid
        state = tmp_path / ".minikube"
        for damage in (remove, lambda path: path.rename(tmp_path / "old")):
            damage(state)
            assert "is running already" in small.run("up", "-d", code=1)
            assert "running" in small.run("ps")
            assert (small.pid("x"), small.status().pid) == (pid, supervisor)
            eventually((state / "supervisor.json").exists, what="the record")
        assert small.until("x", "running").restarts == 0
        said = small.events("project.restored")
        assert len(said) >= 2
        assert all(text.endswith(": removed or replaced, and made again") for text in said)
        small.run("restart", "x")
        pid = small.pid("x")
        remove(state)
        assert small.run("down") == "stopped\n"
        assert gone(pid, supervisor)()
        small.run("ps", code=3)
        small.up("--wait")


def test_a_copy_of_a_running_project_is_a_project_of_its_own(any_length: Path) -> None:
    """Its records name the processes and Redis of the original, which `ps`, `run`, `down` and `up` in the copy leave alone."""
    first = any_length / "first"
    first.mkdir()
    with Small(first, X) as small:
        small.up("--wait")
        pid = small.pid("x")
        shutil.copytree(first, any_length / "copy", symlinks=True, ignore=shutil.ignore_patterns("run"))
        address = small.run("run", "x", "--", "sh", "-c", "echo $REDIS_URL")
        socket = Path(address.strip().removeprefix("unix://"))
        with Small(any_length / "copy", X) as copy:
            assert copy.run("run", "x", "--", "sh", "-c", "echo $REDIS_URL") != address
            assert "nothing is running" in copy.run("ps", code=3)
            copy.run("down", code=3)
            copy.up("--wait")
            assert copy.pid("x") != pid
            assert small.pid("x") == pid
            copy.run("down")
        assert (first / ".minikube" / "redis.sock").resolve() == socket.resolve()
        assert socket.is_socket()
        assert small.pid("x") == pid
        small.run("down")
        assert not socket.parent.exists()


def test_a_project_directory_that_was_moved_is_ended_where_it_is_now(any_length: Path) -> None:
    before = any_length / "before"
    before.mkdir()
    with Small(before, X) as small:
        small.up("--wait")
        pid = small.pid("x")
        socket = find_redis_socket(before / ".minikube")
        small.directory = before.rename(any_length / "after")
        small.path = small.directory / "supervisor.toml"
        assert small.pid("x") == pid
        (moved,) = small.events("project.moved")
        assert f"moved to {any_length}/after" in moved
        assert "is running already" in small.run("up", "-d", code=1)
        assert small.run("down") == "stopped\n"
        assert gone(pid)()
        assert not before.exists()
        assert not socket.parent.exists()


TALKING = """
[services.t]
cwd = "src"
command = ["sh", "-c", "env | grep REDIS_URL; i=0; while :; do i=$((i+1)); echo line $i at $(pwd -P); sleep 0.05; done"]
"""


def test_a_project_goes_on_where_it_was_moved_to(any_length: Path) -> None:
    """No line is lost, lookups work again, a killed service, Redis and registry come back there, and nothing at the old place."""
    (before := any_length / "before").mkdir()
    (before / "src").mkdir()
    with Small(before, TALKING) as small:
        small.up("--wait")
        pid = small.pid("t")
        small.directory = before.rename(any_length / "after")
        small.path = small.directory / "supervisor.toml"
        before.mkdir()  # another directory takes its place
        eventually(lambda: small.events("project.moved"))
        assert small.status().manifest == str(small.path)
        is_inside = find_redis_socket(small.directory / ".minikube").is_relative_to(small.directory)
        if is_inside:  # the registry has the old path of Redis until it is started again, and reads it no more
            eventually(lambda: part_of(small, "registry").restarts and part_of(small, "registry").is_well)
        small.run("restart", "t")
        assert os.readlink(f"/proc/{small.pid('t')}/cwd") == str(any_length / "after" / "src")
        found = processes.environment(small.pid("t"))["REDIS_URL"]
        assert found.startswith(f"unix://{any_length}/after/") == is_inside
        assert unquote(found.removeprefix("unix://")) == str(find_redis_socket(small.directory / ".minikube"))
        assert gone(pid)()
        for name in ("redis", "registry"):
            old = part_of(small, name).pid
            os.kill(old, signal.SIGKILL)
            eventually(partial(is_well_again, small, name, old))
        numbers = [
            int(line.split()[1])
            for line in small.run("logs", "t", "--no-prefix").splitlines()
            if line.startswith("line")
        ]
        assert numbers[: numbers.index(1, 1)] == list(range(1, numbers.index(1, 1) + 1)), "no line was lost"
        small.run("apply")
        assert small.run("down") == "stopped\n"
        assert list(before.iterdir()) == []
        assert not (small.directory / ".minikube" / "run").exists(), "what a run removes at its end is removed there"


def is_well_again(small: Small, name: str, old: int) -> bool:
    part = part_of(small, name)
    return part.pid != old and part.is_well


def part_of(small: Small, name: str) -> PartView:
    return next(part for part in small.ask(ControlClient.status).parts if part.name == name)


def test_a_directory_that_was_deleted_and_cloned_again_still_has_its_project(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    with Small(root, X) as small:
        small.up("--wait")
        pid = small.pid("x")
        root.rename(tmp_path / "trash")
        root.mkdir()
        shutil.rmtree(tmp_path / "trash")
        small.write(X)
        assert small.pid("x") == pid
        assert small.run("down") == "stopped\n"
        assert gone(pid)()


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can reach, and that the user `nobody` has."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(place)


def as_nobody(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of `minikube` as the user `nobody`, who can read the files of this checkout."""
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    # Only to read: the interpreter may lie in the home directory of root.
    right = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return subprocess.run(
        [*user, *right, *MINIKUBE, *arguments],
        cwd=place,
        env={**untraced(), "HOME": str(place), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_another_users_project_is_named_and_root_ends_it(
    public: Path, as_root: None, need: Callable[[str], str]
) -> None:
    need("setpriv")
    small = Small(public, X)
    done = as_nobody(public, "up", "-d", "--wait")
    assert done.returncode == 0, done.stderr
    state = public / ".minikube"
    try:
        assert "running" in small.run("ps")
        assert "x restarted" in small.run("restart", "x")
        assert "(pid " in small.run("up", "-d", code=1)
        for command in ("exec", "run"):
            ids = small.run(command, "x", "--", "sh", "-c", "id -u; id -g; echo $USER").split()
            assert ids == [str(NOBODY), str(NOBODY), "nobody"], "as the service runs"
        assert {path.stat().st_uid for path in state.rglob("*")} == {NOBODY}, "root's commands have left no file there"
        remove(state)
        assert "running" in small.run("ps")
        assert {path.stat().st_uid for path in state.rglob("*")} == {NOBODY}
    finally:
        assert small.run("down") == "stopped\n"
    assert all(path.stat().st_uid == NOBODY for path in state.rglob("*"))
    text = small.run("up", "-d", code=1)
    assert "belongs to user nobody — start the project as that user (sudo -u nobody minikube up)" in text
    done = as_nobody(public, "up", "-d", "--wait")
    assert done.returncode == 0, done.stderr
    assert as_nobody(public, "down").returncode == 0


def test_a_user_is_told_whose_project_runs_here(public: Path, as_root: None, need: Callable[[str], str]) -> None:
    need("setpriv")
    with Small(public, X) as small:
        small.up("--wait")
        pid = small.status().pid
        for command in ("ps", "down", "status", "logs", "restart x", "up -d"):
            done = as_nobody(public, *command.split())
            assert done.returncode == 1, command
            assert f"{public}: a project of user root runs here (pid {pid}) — use it as that user: sudo -u root" in (
                done.stderr
            )
        remove(public / ".minikube")
        assert "a project of user root runs here" in as_nobody(public, "down", "--now").stderr
        assert small.status().pid == pid
        small.run("down")
    assert "belongs to user root" in as_nobody(public, "up", "-d").stderr
