"""Waiting for the end of a process that is not a child, and the pids that `down` waits for."""

import os
from pathlib import Path

import pytest

from minikube.cli.lifecycle.process_exit import ProcessExitWait, recorded_pids


def test_the_end_of_a_process_is_seen_without_reaping_it() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    with ProcessExitWait(child) as process_exit:
        assert not process_exit.wait(0)
        os.close(write)
        assert process_exit.wait(5)
        os.waitpid(child, 0)
    with ProcessExitWait(child) as process_exit:
        assert process_exit.wait(0), "a pid without a process"


@pytest.mark.parametrize(
    ("text", "pids"),
    [('{"pid": 5, "guardian_pid": 6}', [5, 6]), ('{"pid": 5}', [5]), ('{"pid": "x"}', []), ("[]", []), ("x", [])],
)
def test_the_pids_of_the_supervisor_and_guardian_are_read_from_the_record(
    text: str, pids: list[int], tmp_path: Path
) -> None:
    (tmp_path / ".minikube").mkdir()
    (tmp_path / ".minikube" / "supervisor.json").write_text(text)
    assert recorded_pids(tmp_path / "supervisor.toml") == pids
