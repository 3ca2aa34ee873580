"""The guardian: signals, and its work after the end of its supervisor."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from minikube.engine.command import Engine
from minikube.engine.leftovers import record_engine
from minikube.linux import processes
from minikube.project.orphans import record_processes
from minikube.project_dir import CONTAINERS_FILE
from minikube.supervisor.daemon import guardian


def test_a_signal_for_the_guardian_reaches_the_supervisor_and_after_its_end_no_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the guardian cleans up, the pid of the supervisor that it has reaped may be another process'."""
    supervisor = os.fork()
    if supervisor == 0:
        signal.pause()
        os._exit(1)
    forward = guardian._forward_to(supervisor)
    forward(signal.SIGTERM, None)
    assert os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1]) == -signal.SIGTERM
    by_pid: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: by_pid.append(pid))
    forward(signal.SIGTERM, None)
    assert by_pid == []


def test_a_project_directory_that_may_not_be_entered_any_more_does_not_end_the_guardian(
    tmp_path: Path, as_nobody: None
) -> None:
    guardian._remove_containers(tmp_path / ".minikube", -9)
    guardian._remove_groups(tmp_path / ".minikube", "minikube-none")


@pytest.mark.parametrize("status", [-signal.SIGKILL, 1])
def test_processes_of_containers_are_killed_also_where_the_engine_does_not_answer(tmp_path: Path, status: int) -> None:
    """The engine has started them, so they are no descendants of the guardian; an engine that does not answer ends none."""
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    record_engine(tmp_path, Engine("docker", str(program), "mark"))
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as container:
        try:
            record_processes(tmp_path, [(container.pid, processes.start_time(container.pid))])
            guardian._remove_containers(tmp_path, status)
            assert container.wait(10) == -signal.SIGKILL
        finally:
            container.kill()
    assert (tmp_path / CONTAINERS_FILE).exists(), "the next start has to remove the container"
