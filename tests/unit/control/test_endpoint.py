"""How commands find a supervisor's API: whose project it may be, which versions understand each other, which token is used."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import minikube
from minikube.control.client.endpoint import check_owner, endpoint_of, find_supervisor, make_endpoint, read_token
from minikube.errors import MinikubeError, NothingRunning, Unresponsive
from minikube.project.run_claim import RunClaim
from minikube.project.run_lookup import Run
from minikube.project_dir import RECORD_FORMAT, SupervisorRecord

TOKEN = "0123456789abcdef" * 4
RECORD = SupervisorRecord(7, 6, 1, "", "0.0.0.0:5556", "", "/p/other.toml", version="9.9")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / ".minikube"
    directory.mkdir()
    (directory / "token").write_text(TOKEN)
    (directory / "token").chmod(0o600)
    return directory


def run_of(record: SupervisorRecord | None, uid: int | None = None, token: str = "") -> Run:
    return Run(7, os.geteuid() if uid is None else uid, record, token)


def test_the_token_is_the_supervisors_word_else_that_of_the_file(state: Path) -> None:
    endpoint = endpoint_of(run_of(RECORD, token="told"), state)
    assert (endpoint.netloc, endpoint.token, endpoint.pid) == ("127.0.0.1:5556", "told", 7)
    assert (endpoint.manifest, endpoint.version) == ("/p/other.toml", "9.9")
    assert endpoint_of(run_of(RECORD), state).token == TOKEN
    shutil.rmtree(state)
    assert endpoint_of(run_of(RECORD, token="told"), state).token == "told"
    with pytest.raises(NothingRunning, match="there is no token"):
        endpoint_of(run_of(RECORD), state)


def test_a_supervisor_of_a_newer_version_with_another_record_is_named(state: Path) -> None:
    newer = SupervisorRecord(7, 6, 1, "", "127.0.0.1:1", "", "", version="9.9", format=RECORD_FORMAT + 1)
    with pytest.raises(MinikubeError) as caught:
        endpoint_of(run_of(newer), state)
    assert str(caught.value) == (
        f"{state.parent}: is run by minikube 9.9, which this one ({minikube.__version__}) is too old for"
        " — use minikube 9.9, or end it: kill 7"
    )


@pytest.mark.parametrize(
    ("record", "error", "text"),
    [
        (None, Unresponsive, "the supervisor (pid 7) does not answer — `minikube down --now` ends it"),
        (SupervisorRecord(7, 6, 1, "", "", "", ""), NothingRunning, "the supervisor (pid 7) is still starting"),
        (SupervisorRecord(7, 6, 1, "", "", "", "", ending=True), NothingRunning, "the supervisor (pid 7) is ending"),
    ],
)
def test_a_supervisor_without_an_api_is_said_to_hang_to_start_or_to_end(
    state: Path, record: SupervisorRecord | None, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        endpoint_of(run_of(record), state)
    assert f"{state.parent}: {text}" in str(caught.value)


def test_another_users_project_is_refused_but_for_root(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        MinikubeError, match=r"a project of user nobody runs here \(pid 7\) — use it as that user: sudo"
    ):
        check_owner(run_of(RECORD, 65534), state)
    check_owner(run_of(RECORD, 1000), state)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    check_owner(run_of(RECORD, 65534), state)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_token_file_that_others_can_read_is_refused(state: Path, mode: int) -> None:
    (state / "token").chmod(mode)
    with pytest.raises(MinikubeError, match="not a private file of user"):
        read_token(state)


def test_the_token_file_has_to_be_the_supervisors_users(state: Path, as_root: None) -> None:
    with pytest.raises(MinikubeError, match="not a private file of user nobody — remove it and start again"):
        read_token(state, 65534)
    os.chown(state / "token", 65534, 65534)
    assert read_token(state, 65534) == TOKEN, "root acts on the project of that user"
    with pytest.raises(MinikubeError, match="not a private file of user root"):
        read_token(state)


@pytest.fixture
def hung(state: Path) -> Iterator[RunClaim]:
    """A supervisor, this process, that does not answer."""
    claim = RunClaim(state)
    claim.take()
    yield claim
    claim.close()


def test_a_supervisor_that_hangs_is_found_by_its_record(state: Path, hung: RunClaim) -> None:
    record = {"pid": os.getpid(), "control": "127.0.0.1:5"}
    (state / "supervisor.json").write_text(json.dumps(record))
    assert find_supervisor(state.parent / "supervisor.toml", timeout=0) == make_endpoint(
        "127.0.0.1:5", TOKEN, os.getpid()
    )
    (state / "supervisor.json").unlink()
    with pytest.raises(Unresponsive):
        find_supervisor(state.parent / "supervisor.toml", timeout=0)
