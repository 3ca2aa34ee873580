"""The processes that an earlier run left are killed, and no other one. Real processes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube.linux import processes
from minikube.project import orphans


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"], env={}, start_new_session=True) as process:
        yield process
        process.kill()


def test_a_recorded_process_is_killed_with_its_session(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    orphans.record_processes(tmp_path, [(sleeper.pid, processes.start_time(sleeper.pid))])
    assert orphans.find_orphans(tmp_path) == [sleeper.pid]
    assert orphans.kill_orphans(tmp_path) == [sleeper.pid]
    assert sleeper.wait(30) == -9
    assert not (tmp_path / "processes.json").exists()


@pytest.mark.parametrize("recorded", ["another start time", "another boot"])
def test_a_process_that_has_the_pid_of_a_recorded_one_now_is_left_alone(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]", recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = processes.start_time(sleeper.pid)
    with monkeypatch.context() as before:
        if recorded == "another boot":
            before.setattr(processes, "boot_id", lambda: "an earlier one")
        else:
            started -= 1
        orphans.record_processes(tmp_path, [(sleeper.pid, started)])
    assert orphans.find_orphans(tmp_path) == []
    assert orphans.kill_orphans(tmp_path) == []
    assert sleeper.poll() is None


def test_a_process_with_the_projects_directory_in_its_environment_is_an_orphan_and_this_one_is_not(
    tmp_path: Path,
) -> None:
    env = {orphans.PROJECT_ENV: str(tmp_path)}
    with subprocess.Popen(["/bin/sleep", "600"], env=env, start_new_session=True) as process:
        assert orphans.find_orphans(tmp_path) == [process.pid]
        assert os.getpid() not in orphans.find_orphans(tmp_path)
        orphans.kill_orphans(tmp_path)
        process.wait(30)
