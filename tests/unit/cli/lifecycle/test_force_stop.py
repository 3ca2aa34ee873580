"""Ending a supervisor that does not answer: only a recorded process that still is that supervisor is killed."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from minikube.cli.lifecycle.force_stop import kill_supervisor
from minikube.errors import Unavailable
from minikube.linux import processes
from minikube.project_dir import SUPERVISOR_FILE, project_dir


@pytest.mark.parametrize("pid", [0, -1])
def test_a_record_without_a_real_pid_kills_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    """`kill(0)` would end this command's own process group, `kill(-1)` every process of the user."""
    killed: list[int] = []

    def kill_all(pids: Iterable[int]) -> list[int]:
        killed.extend(pids)
        return []

    monkeypatch.setattr(processes, "kill_all", kill_all)
    manifest = tmp_path / "supervisor.toml"
    directory = project_dir(manifest)
    directory.mkdir()
    record = {"pid": pid, "start_time": processes.start_time(pid), "boot_id": processes.boot_id()}
    (directory / SUPERVISOR_FILE).write_text(json.dumps(record))
    with pytest.raises(Unavailable, match="no supervisor runs this project by now"):
        kill_supervisor(manifest)
    assert killed == []
