"""The processes that an earlier run left are killed, and no other one. Real processes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from minikube.engine.command import Engine
from minikube.engine.leftovers import read_engine_record, record_engine
from minikube.linux import processes
from minikube.project import orphans
from minikube.project.run_claim import RunClaim
from minikube.project.run_lookup import find_run
from minikube.project_dir import SupervisorRecord, origin

Popen = subprocess.Popen[bytes]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "project" / ".minikube"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def left(state: Path) -> Iterator[Popen]:
    """A process that a run of the project has started, and that tells nothing about it."""
    with subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]}, start_new_session=True) as found:
        yield found
        found.kill()


def record(state: Path, popen: Popen, **changes: object) -> None:
    """Write the record of a run that has started a process; `changes` are keys with other values."""
    identity = [popen.pid, processes.start_time(popen.pid)]
    content = {"boot": processes.boot_id(), "processes": [identity], **origin(state), **changes}
    (state / "processes.json").write_text(json.dumps(content))


def test_a_recorded_process_is_found_and_killed(state: Path, left: Popen) -> None:
    record(state, left)
    assert orphans.find_orphans(state) == [left.pid]
    assert orphans.kill_orphans(state) == [left.pid]
    assert left.wait(5) == -9
    assert not (state / "processes.json").exists()


def test_a_pid_that_another_process_has_now_is_left_alone(state: Path, left: Popen) -> None:
    """The start time of the record is another one, or the record is from before a reboot."""
    for changes in ({"processes": [[left.pid, 1]]}, {"processes": [[left.pid, 0]]}, {"boot": "before"}):
        record(state, left, **changes)
        assert orphans.kill_orphans(state) == [], changes
    assert left.poll() is None


def test_a_process_with_the_projects_directory_in_its_environment_is_an_orphan_and_this_one_is_not(
    state: Path,
) -> None:
    env = {orphans.PROJECT_ENV: str(state)}
    with subprocess.Popen(["/bin/sleep", "600"], env=env, start_new_session=True) as process:
        assert orphans.find_orphans(state) == [process.pid]
        assert os.getpid() not in orphans.find_orphans(state)
        orphans.kill_orphans(state)
        process.wait(30)


def test_a_copied_record_names_no_process_of_this_project(state: Path, left: Popen) -> None:
    record(state, left)
    copy = shutil.copytree(state.parent, state.parent.with_name("copy")) / ".minikube"
    assert orphans.kill_orphans(copy) == []
    assert left.poll() is None
    shutil.copytree(state.parent, state.parent.with_name("other"))
    shutil.rmtree(state.parent)
    other = state.parent.with_name("other") / ".minikube"
    assert orphans.find_orphans(other) == [left.pid], "the original is gone: it was moved to another disk"


def test_an_older_versions_record_that_was_copied_names_none_either(state: Path) -> None:
    env = {"PATH": os.environ["PATH"], orphans.PROJECT_ENV: str(state)}
    with subprocess.Popen(["sleep", "60"], env=env, start_new_session=True) as popen:
        record(state, popen, directory_id="", directory="")
        copy = shutil.copytree(state.parent, state.parent.with_name("copy")) / ".minikube"
        assert orphans.kill_orphans(copy) == []
        assert orphans.find_orphans(state) == [popen.pid]
        popen.kill()


def test_processes_of_a_project_that_was_moved_away_and_still_runs_are_left_alone(state: Path) -> None:
    """Another project has its old path now. The supervisor is this process, which does not answer, as one that hangs."""
    claim = RunClaim(state)
    claim.take()
    root = state.parent
    root.rename(root.with_name("moved"))
    state.mkdir(parents=True)
    env = {"PATH": os.environ["PATH"], orphans.PROJECT_ENV: str(state)}
    with subprocess.Popen(["sleep", "60"], env=env, start_new_session=True) as popen:
        assert orphans.find_orphans(state) == []
        claim.close()
        assert orphans.find_orphans(state) == [popen.pid]
        popen.kill()


def test_a_copy_of_a_project_that_was_moved_has_no_part_in_its_run(state: Path, left: Popen) -> None:
    """The records in the copy name a path that is gone. The supervisor of the moved project is this process."""
    claim = RunClaim(state)
    claim.take()
    record(state, left)
    own = SupervisorRecord(os.getpid(), 1, None, "", "127.0.0.1:1", "", "", **origin(state))
    (state / "supervisor.json").write_text(json.dumps(asdict(own)))
    record_engine(state, Engine("docker", "docker", "mark"))
    moved = state.parent.rename(state.parent.with_name("moved"))
    copy = shutil.copytree(moved, state.parent.with_name("copy")) / ".minikube"
    descriptor = os.open(moved, os.O_PATH)
    try:
        assert find_run(copy) is None
        assert orphans.kill_orphans(copy) == []
        assert read_engine_record(copy) is None
        assert left.poll() is None
        assert (run := find_run(moved / ".minikube")) is not None
        assert run.pid == os.getpid()
        shutil.copytree(moved, state.parent.with_name("disk"))
        shutil.rmtree(moved)
        assert find_run(state.parent.with_name("disk") / ".minikube") is not None, "it was moved to another disk"
    finally:
        os.close(descriptor)
        claim.close()
