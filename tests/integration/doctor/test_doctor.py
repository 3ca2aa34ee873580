"""`minikube doctor`: what is found on this machine, with real sockets, programs and state."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from minikube.cli.app import run
from minikube.doctor import examine as machine
from minikube.model import InstanceView, ProcessState
from minikube.project import orphans
from tests.eventually import eventually

SERVICES = '[registry]\nlisten = "auto"\n[control]\nlisten = "auto"\n'


def findings(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, str]]:
    """By check; of several ports the last."""
    assert run(["doctor", "--json"]) == code
    return {row["check"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_sound_machine_has_nothing_that_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\ncommand = "run"\n')
    found = findings(capsys, 0)
    assert {"python", "manifest", "redis", "port", "state", "disk", "cgroup", "files", "watch", "terminal"} <= set(
        found
    )
    assert "fail" not in {row["status"] for row in found.values()}
    assert all(bool(row["advice"]) == (row["status"] != "ok") for row in found.values())
    assert not (project / ".minikube").exists()
    assert run(["doctor"]) == 0
    assert "ok    manifest    supervisor.toml: good, 1 service\n" in capsys.readouterr().out


def test_a_wrong_manifest_and_a_missing_redis_are_told(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "supervisor.toml").write_text("[services.x]\nport = 0\n")
    monkeypatch.setenv("MINIKUBE_REDIS_SERVER", "/nowhere/redis-server")
    found = findings(capsys, 1)
    assert found["manifest"]["status"] == found["redis"]["status"] == "fail"
    assert found["manifest"]["advice"] == "2 problems: minikube validate"


def test_a_taken_port_names_its_owner(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\ncommand = "run"\nport = {port}\n')
        found = findings(capsys, 1)
    assert f"services.x.port: 127.0.0.1:{port} is taken by pid {os.getpid()}" in found["port"]["found"]
    assert found["port"]["advice"] == "stop it, or set services.x.port"


@pytest.mark.parametrize(
    ("keys", "pid", "ours"),
    [
        ("container_port = 80", os.getppid(), True),  # the engine has it
        ("", os.getpid(), True),
        ("", 2**22 + 1, False),  # its container runs, and somebody else listens
        ("container_port = 80", 0, False),  # it does not run
    ],
    ids=("the engine", "itself", "somebody else", "not running"),
)
def test_a_running_containers_own_port_is_no_trouble(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    keys: str,
    pid: int,
    ours: bool,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        view = InstanceView("1", "x", "x", ProcessState.RUNNING, pid=pid, address=where)
        monkeypatch.setattr(machine, "_recorded", lambda _: {2**22 + 2})
        monkeypatch.setattr(machine, "_instances", lambda _: (view,))
        (project / "supervisor.toml").write_text(
            f'{SERVICES}[services.x]\nimage = "x"\nport = {taken.getsockname()[1]}\n{keys}\n'
        )
        run(["doctor", "--json"])
    found = {row["found"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert (found.get(f"services.x.port: {where} is this project's") == "ok") == ours
    assert any(f"{where} is taken by pid {os.getpid()}" in text for text in found) != ours


def test_another_redis_has_to_listen(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://me:hunter2@127.0.0.1:{server.getsockname()[1]}/0"
        (project / "supervisor.toml").write_text(f'{SERVICES}[redis]\nurl = "{url}"\n')
        assert "***" in findings(capsys, 0)["redis"]["found"]
    told = findings(capsys, 1)["redis"]
    assert "refused" in told["found"]
    assert "hunter2" not in str(told)


def test_a_redis_may_listen_on_ipv6(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server:
        url = f"redis://[::1]:{server.getsockname()[1]}/0"
        (project / "supervisor.toml").write_text(f'{SERVICES}[redis]\nurl = "{url}"\n')
        assert findings(capsys, 0)["redis"]["status"] == "ok"


def test_a_container_with_an_address_of_its_own_needs_no_port_of_ours(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (project / "supervisor.toml").write_text(
            f'{SERVICES}[services.x]\nimage = "x"\nport = {port}\nnetwork = "project"\n'
        )
        run(["doctor", "--json"])
    assert f":{port}" not in capsys.readouterr().out


def test_what_an_earlier_run_left_is_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text(SERVICES)
    state = project / ".minikube"
    state.mkdir()
    mark = {**os.environ, orphans.PROJECT_ENV: str(state)}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=mark) as left:
        eventually(lambda: orphans.find_orphans(state), what="its environment")
        assert f"(pid {left.pid})" in findings(capsys, 0)["state"]["found"]
        left.communicate(b"\n")
    (state / "supervisor.json").write_text(json.dumps({"pid": left.pid, "start_time": 1, "boot_id": ""}))
    assert "its supervisor was killed" in findings(capsys, 0)["state"]["found"]


def test_containers_need_an_engine_that_answers(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\nimage = "x"\n')
    assert findings(capsys, 1)["containers"]["status"] == "fail"
    program = project / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    program.chmod(0o755)
    assert findings(capsys, 1)["containers"]["advice"] == "start docker"
    program.write_text("#!/bin/sh\necho 27.0\n")
    assert findings(capsys, 0)["containers"]["found"] == f"{program} 27.0"
