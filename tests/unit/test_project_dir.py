"""The file names under `.minikube/`, as messages name them, and the record of an end."""

import json
import os
from pathlib import Path

import pytest

from minikube.project_dir import RECORD_LIMIT, RunEnd, dashboard_log, log_name, read_json, read_run_end, record_run_end


def test_a_log_is_named_as_a_user_finds_it() -> None:
    assert log_name("minikube.redis") == ".minikube/logs/minikube.redis.log"
    assert dashboard_log(Path("/shop/.minikube")) == Path("/shop/.minikube/logs/minikube.dashboard.log")


def test_the_reason_of_an_end_is_read_back_and_a_directory_that_cannot_be_written_is_ignored(tmp_path: Path) -> None:
    assert read_run_end(tmp_path) is None
    record_run_end(tmp_path, "no memory")
    end = read_run_end(tmp_path)
    assert isinstance(end, RunEnd)
    assert (end.why, end.time > 1e9) == ("no memory", True)
    record_run_end(tmp_path / "nowhere", "no memory")
    assert read_run_end(tmp_path / "nowhere") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"time": "x", "why": ""}', "[" * RECORD_LIMIT, '{"time": 1e999}'])
def test_a_damaged_record_of_an_end_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "ended.json").write_text(content)
    assert read_run_end(tmp_path) is None


def test_a_pipe_or_a_long_file_in_place_of_a_record_does_not_hold_the_reader_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="Expecting value"):
        read_json(tmp_path / "pipe")
    (tmp_path / "long").write_text(json.dumps("x" * RECORD_LIMIT))
    with pytest.raises(ValueError, match="Unterminated string"):
        read_json(tmp_path / "long")
