"""`minikube doctor`, with real sockets, programs and project directories."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from minikube.cli.app import run
from minikube.doctor import checks, running
from minikube.errors import Unavailable
from minikube.model import CheckState, InstanceView, PartView, ProcessState, Snapshot
from minikube.project import orphans
from minikube.project.run_claim import RunClaim
from tests.eventually import eventually
from tests.ports import free_ports
from tests.redis_server import RedisServer

SERVICES = '[registry]\nlisten = "auto"\n[control]\nlisten = "auto"\n'


def findings(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, str]]:
    """Run `doctor` and return its findings by check; of several ports the last."""
    assert run(["doctor", "--json"]) == code
    return {row["check"]: row for row in json.loads(capsys.readouterr().out)}


def test_on_a_machine_in_order_no_check_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize(("kind", "limit"), [("watches", 2), ("instances", 0)])
def test_both_limits_of_inotify_are_checked_by_the_names_that_raise_them(
    project: Path, as_root: None, kind: str, limit: int
) -> None:
    """In a user namespace, which has limits of its own. Where no service watches, they do not matter."""
    lower = f"echo {limit} > /proc/sys/user/max_inotify_{kind} || exit 9"
    shell = f"{lower}; exec {sys.executable} -m minikube doctor --json"
    for watch, status in (("[]", "ok"), ('["."]', "warn")):
        (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\ncommand = "run"\nwatch = {watch}\n')
        done = subprocess.run(["unshare", "-U", "-r", "sh", "-c", shell], capture_output=True, text=True, timeout=60)
        if done.returncode == 9 or "unshare failed" in done.stderr:
            pytest.skip(f"no user namespace: {done.stderr.strip()}")
        found = next(row for row in json.loads(done.stdout) if row["check"] == "watch")
        assert found["status"] == status
    assert f"user.max_inotify_{kind}" in found["advice"]


def test_an_invalid_manifest_and_a_missing_redis_fail(
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
    ("keys", "pid", "own"),
    [
        ("", os.getppid(), True),  # the engine listens
        ('network = "host"', os.getpid(), True),
        ('network = "host"', 2**22 + 1, False),  # its container runs, but another process listens
        ("container_port = 80", 0, False),  # it does not run
    ],
    ids=("the engine", "the container", "another process", "not running"),
)
def test_the_port_of_a_running_container_is_no_conflict(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    keys: str,
    pid: int,
    own: bool,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        view = InstanceView("1", "x", "x", ProcessState.RUNNING, pid=pid, address=address)
        shop = Snapshot("shop", 1, 1.0, 1.0, "1", 7, instances=(view,))
        monkeypatch.setattr(checks, "_own_pids", lambda _: {2**22 + 2})
        monkeypatch.setattr(checks, "read_snapshot", lambda _: shop)
        (project / "supervisor.toml").write_text(
            f'{SERVICES}[services.x]\nimage = "x"\nport = {taken.getsockname()[1]}\n{keys}\n'
        )
        run(["doctor", "--json"])
    found = {row["found"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert (found.get(f"services.x.port: {address} is this project's") == "ok") == own
    assert any(f"{address} is taken by pid {os.getpid()}" in text for text in found) != own


def test_the_manifests_own_redis_has_to_answer_and_its_password_is_masked(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "QUESTION_TIMEOUT_S", 0.3)
    (port,) = free_ports(1)
    (project / "supervisor.toml").write_text(f'{SERVICES}[redis]\nurl = "redis://:hunter2@127.0.0.1:{port}/0"\n')
    server = RedisServer(project, port=port, user=":hunter2", options=("--requirepass", "hunter2"))
    with server:
        assert findings(capsys, 0)["redis"]["found"] == f"redis://:***@127.0.0.1:{port}/0 answers"
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        hung = findings(capsys, 1)["redis"]
        server.process.send_signal(signal.SIGCONT)
    refused = findings(capsys, 1)["redis"]
    assert ("Timeout" in hung["found"], "refused" in refused["found"]) == (True, True), (hung, refused)
    assert "hunter2" not in str([hung, refused])


def test_what_runs_has_to_answer(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that hangs, and a Redis that is running but suspended, fail; a project that is well does not."""
    hung = "does not answer: its process is suspended — resume it with `kill -CONT 7`"
    parts = (
        PartView("redis", ProcessState.RUNNING, "redis.sock", 7, detail=hung, check=CheckState.CRITICAL),
        PartView("registry", ProcessState.RUNNING, "127.0.0.1:1", 8, check=CheckState.PASSING),
    )
    (project / "supervisor.toml").write_text(SERVICES)
    monkeypatch.setattr(checks, "read_snapshot", lambda _: Snapshot("shop", 1, 1.0, 1.0, "1", 6, parts=parts))
    found = findings(capsys, 1)
    assert [found[name]["status"] for name in ("supervisor", "redis", "registry")] == ["ok", "fail", "ok"]
    assert found["redis"]["found"] == "is critical: does not answer: its process is suspended"
    assert found["redis"]["advice"] == "resume it with `kill -CONT 7`"
    error = Unavailable("127.0.0.1:1: the supervisor (pid 6) does not answer — `minikube down --now` ends it")
    monkeypatch.setattr(checks, "read_snapshot", lambda _: error)
    assert findings(capsys, 1)["supervisor"]["advice"] == "`minikube down --now` ends it"


def test_a_redis_may_listen_on_ipv6(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    (port,) = free_ports(1)
    with RedisServer(project, port=port, options=("--bind", "::1")):
        (project / "supervisor.toml").write_text(f'{SERVICES}[redis]\nurl = "redis://[::1]:{port}/0"\n')
        assert findings(capsys, 0)["redis"]["status"] == "ok"


@pytest.mark.parametrize(
    ("network", "info", "status"),
    [
        ("project", '{"SecurityOptions":["name=rootless"]}', "warn"),
        ("host", '{"SecurityOptions":["name=rootless"]}', "ok"),
        ("project", '{"SecurityOptions":[]}', "ok"),
    ],
)
def test_an_engine_whose_networks_are_out_of_reach_is_a_warning_where_a_service_has_one(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    network: str,
    info: str,
    status: str,
) -> None:
    program = project / "docker"
    program.write_text(f"#!/bin/sh\ncase $1 in info) echo '{info}';; *) echo 28.0;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{project}:{os.environ['PATH']}")
    (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\nimage = "x"\nnetwork = "{network}"\n')
    found = findings(capsys, 0)["containers"]
    assert (found["status"], "reach neither processes" in found["found"]) == (status, status == "warn")


def test_a_port_at_which_a_container_is_to_be_published_has_to_be_free(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\nimage = "x"\nport = {port}\n')
        run(["doctor", "--json"])
    assert f"services.x.port: 127.0.0.1:{port} is taken" in capsys.readouterr().out


def test_processes_of_an_earlier_run_are_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_the_processes_of_a_project_that_runs_are_its_own_whatever_became_of_its_files(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where `.minikube` was emptied: they are not taken for those of an earlier run."""
    state = project / ".minikube"
    state.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = f'[services.x]\ncommand = "run"\nport = {taken.getsockname()[1]}\n'
        (project / "supervisor.toml").write_text(SERVICES + service)
        claim = RunClaim(state)
        claim.take()

        def close_connections() -> None:
            with suppress(OSError):
                while True:
                    claim.socket.accept()[0].close()

        thread = threading.Thread(target=close_connections)
        thread.start()
        mark = {**os.environ, orphans.PROJECT_ENV: str(state)}
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=mark) as instance:
            found = findings(capsys, 1)
            instance.communicate(b"\n")
        claim.stop_listening()
        thread.join()
        claim.close()
    assert found["state"]["found"] == f"{state}: its supervisor runs"
    assert found["port"]["found"].endswith("is this project's")


def test_what_the_manifest_names_and_this_machine_lacks_is_a_warning(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "supervisor.toml").write_text(f'{SERVICES}[services.x]\ncommand = "run"\ncwd = "none"\n')
    manifest = findings(capsys, 0)["manifest"]
    assert manifest["status"] == "warn"
    assert manifest["found"].startswith("supervisor.toml:7:7: services.x.cwd: its working directory ")
