"""The supervisor's promises: checks of every kind, process trees, its own death and that of its guardian."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from minikube.project.redis_socket import find_redis_socket
from tests.certificates import make_certificates
from tests.e2e.small import MINIKUBE, READY, Small
from tests.eventually import eventually
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


SERVICES = """
[services.web]
command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "127.0.0.1"]
port = "auto"
health = { http = "/", interval = "200ms", timeout = "300ms", restart_after = 2 }
stop = { timeout = "300ms" }

[services.gate]
command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "127.0.0.1"]
port = "auto"
health = { command = ["sh", "-c", "cat open"], interval = "100ms" }

[services.guest]
command = ["sleep", "1000"]
depends_on = ["gate"]

[services.herald]
command = ["sh", "-c", "echo one; echo ready at last; exec sleep 1000"]
health = { log = "^ready" }

[services.broken]
command = ["sh", "-c", "echo the reason stands here >&2; exit 3"]
restart = { limit = 2, delay = "50ms" }

[services.waits]
command = ["sleep", "1000"]
depends_on = { broken = "completed", herald = "healthy" }

[services.odd]
command = ["sh", "-c", "exit 7"]
restart = { policy = "on-failure", success = [7] }
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    with Small(tmp_path, SERVICES) as project:
        project.up()
        yield project


def test_every_kind_of_check_works_and_a_reason_is_shown_until_it_passes(small: Small, tmp_path: Path) -> None:
    broken = small.until("broken", "fatal")
    assert (broken.exit, broken.reason) == ("exit 3", "exit 3: 2 failed starts in a row")
    eventually(lambda: small.until("broken", "fatal").last_lines == ("the reason stands here",))
    text = "broken fatal: exit 3: 2 failed starts in a row — last line: the reason stands here"
    eventually(lambda: text in small.events())
    assert small.until("odd", "exited").reason == ""
    assert small.until("herald", "running").check == "passing"
    eventually(lambda: small.until("waits", "pending").reason.endswith("broken is fatal: " + broken.reason))
    assert small.until("guest", "pending").reason.startswith("waiting for gate to be healthy")
    eventually(lambda: "No such file" in small.until("gate", "starting").reason)
    assert "gate" not in small.run("instances"), "not discoverable before its first pass"

    (tmp_path / "open").write_text("come in")
    guest = small.pid("guest")
    assert small.until("gate", "running").output == "come in"
    assert "127.0.0.1" in small.run("get", "gate")

    # Checked again at every restart of a dependent; and the registry gets the supervisor's result at once.
    (tmp_path / "open").unlink()
    eventually(lambda: small.until("gate", "running").check == "critical")
    small.run("get", "gate", code=4)
    os.kill(guest, signal.SIGKILL)
    reason = eventually(lambda: (row := small.instance("guest")) and row.state == "pending" and row.reason)
    assert str(reason).startswith("waiting for gate to be healthy: gate runs: check fails: check command: exit 1")
    (tmp_path / "open").write_text("again")
    assert small.pid("guest") != guest

    small.run("maintenance", "gate", "--reason", "new locks")
    eventually(lambda: small.until("gate", "running").reason == "in maintenance: new locks")
    small.run("get", "gate", code=4)
    small.run("maintenance", "gate", "--off")
    eventually(lambda: small.until("gate", "running").check == "passing")


def test_an_instance_that_hangs_is_restarted_after_restart_after_failures(small: Small) -> None:
    pid = small.pid("web")
    eventually(lambda: small.until("web", "running").check == "passing")
    os.kill(pid, signal.SIGSTOP)
    row = eventually(lambda: (row := small.until("web", "running")).pid != pid and row)
    assert row
    assert (row.restarts, row.failed_starts) == (1, 0)
    assert any("check failed 2 times in a row: no answer within 0.3 s" in text for text in small.events())


def test_a_stop_ends_processes_that_left_the_session_too(tmp_path: Path) -> None:
    """Three orphans in sessions of their own, of which one ignores TERM, are ended by a stop; the killed one is named."""
    mark = f"8{os.getpid()}"
    deaf = f"trap '' TERM; while :; do sleep {mark}; done"
    script = f'for n in 1 2; do setsid sleep {mark} & done; setsid sh -c \\"{deaf}\\" & sleep {mark}'
    services = f'[services.many]\ncommand = ["sh", "-c", "{script}"]\nstop = {{ timeout = "500ms" }}\n'
    with Small(tmp_path, services) as small:
        small.up()
        eventually(lambda: len(sleeping(mark)) >= 4)
        small.run("stop", "many")
        assert sleeping(mark) == []
        assert any("had to be killed 0.5 s after TERM" in text for text in small.events("instance.killed"))
        small.run("start", "many")
        eventually(lambda: len(sleeping(mark)) >= 4)
        os.kill(small.status().pid, signal.SIGKILL)
        eventually(lambda: sleeping(mark) == [], what="nothing is left by a killed supervisor")
        groups = tmp_path / ".minikube" / "cgroups"
        eventually(lambda: not groups.exists(), what="its control groups are gone")


def test_one_directory_has_one_supervisor_at_a_time(tmp_path: Path) -> None:
    """A second `up` is refused and leaves the first alone, also where the first one's record is gone.

    An `up` right after a kill waits until all is cleaned up.
    """
    with Small(tmp_path, "[services.x]\n" + READY) as small:
        small.up()
        pid = small.pid("x")
        known, hidden = tmp_path / ".minikube" / "supervisor.json", tmp_path / "hidden"
        known.rename(hidden)
        assert "is running already" in small.run("up", "-d", code=1)
        eventually(known.exists, what="the record, made again")
        assert small.pid("x") == pid
        assert small.until("x", "running").restarts == 0
        os.kill(small.status().pid, signal.SIGKILL)
        small.up()
        assert small.pid("x") != pid
        assert not Path(f"/proc/{pid}").exists()


def test_a_stop_is_obeyed_while_redis_starts(tmp_path: Path) -> None:
    """The Redis of this test never answers."""
    server, mark = tmp_path / "redis-server", f"600.{os.getpid()}"
    server.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep {mark}\n")
    server.chmod(0o755)
    with Small(tmp_path, f"[services.a]\n{READY}"):
        env = {**os.environ, "MINIKUBE_REDIS_SERVER": str(server)}
        up = subprocess.Popen([*MINIKUBE, "up", "--plain"], cwd=tmp_path, env=env)
        eventually((tmp_path / "begun").exists, what="the server")
        up.terminate()
        assert up.wait(timeout=30) == 0
        assert sleeping(mark) == []


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    return psutil.pid_exists(pid) and str(psutil.Process(pid).status()) != "zombie"


def sleeping(mark: str) -> list[str]:
    """Return the processes whose command line has `mark` as a word."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in place.read_bytes().split(b"\0"):
                found.append(place.parent.name)
        except OSError:
            continue
    return found


def test_the_guardians_death_stops_everything_and_is_named_as_the_reason(tmp_path: Path) -> None:
    polite = 'command = ["sh", "-c", "trap \'echo told > told; exit\' TERM; sleep 1000 & wait"]\n'
    with Small(tmp_path, f"[services.polite]\n{polite}") as small:
        small.up()
        pid = small.pid("polite")
        state = json.loads((tmp_path / ".minikube" / "supervisor.json").read_text())
        os.kill(state["guardian_pid"], signal.SIGKILL)
        eventually(lambda: not any(psutil.pid_exists(one) for one in (pid, state["pid"])), what="all have ended")
        assert (tmp_path / "told").read_text() == "told\n", "TERM came first"
        assert "the guardian was killed" in (tmp_path / ".minikube" / "logs" / "minikube.supervisor.log").read_text()
        for command in ("ps", "events", "down"):
            output = small.run(command, code=3)
            assert re.search(
                r"nothing is running \(the last run ended at [\d:]{8}: the guardian was killed\) — ", output
            )
        small.up()
        small.run("down")
        assert "the last run" not in small.run("ps", code=3), "that one ended as it was told to"


def test_a_supervisor_that_hangs_is_named_by_down_and_killed_by_down_now(tmp_path: Path) -> None:
    with Small(tmp_path, "[services.x]\n" + READY) as small:
        small.up()
        pid, supervisor = small.pid("x"), small.status().pid
        os.kill(supervisor, signal.SIGSTOP)
        text = small.run("ps", code=1)
        assert f"the supervisor (pid {supervisor}) does not answer — `minikube down --now` ends it" in text
        text = small.run("down", "--now")
        assert f"killed the supervisor (pid {supervisor}), which did not answer" in text
        assert text.startswith("stopped\n")
        assert not psutil.pid_exists(pid)
        small.run("ps", code=3)


def test_discovery_comes_back_after_the_loss_of_redis_socket_and_of_the_registry(tmp_path: Path) -> None:
    """The registry is started again without a Redis to read: nothing passes until Redis has a socket again."""
    service = '[services.x]\ncommand = ["python3", "-m", "http.server", "${PORT}"]\nport = "auto"\nhealth = "/"\n'
    with Small(tmp_path, service) as small:
        small.up("--wait")
        first, parts = small.instance("x"), {part.name: part for part in small.status().parts}
        assert first is not None
        find_redis_socket(tmp_path / ".minikube").unlink()
        os.kill(parts["registry"].pid, signal.SIGKILL)
        eventually(lambda: all(part.restarts == 1 and part.is_well for part in small.status().parts))
        eventually(lambda: (row := small.instance("x")) and row.check == "passing")
        assert small.run("get", "x") == f"{first.address}\n"
        assert small.pid("x") == first.pid, "the service goes on"
        assert "its socket" in "".join(small.events("redis.down"))
        small.run("down")


def test_down_kills_what_a_killed_guardian_and_supervisor_left(tmp_path: Path) -> None:
    with Small(tmp_path, "[services.x]\n" + READY) as small:
        small.up()
        pid = small.pid("x")
        state = tmp_path / ".minikube"
        assert (state / "redis.sock").exists()
        redis = next(part for part in small.status().parts if part.name == "redis")
        os.kill(redis.pid, signal.SIGKILL)  # the next one is found, too
        eventually(lambda: next(part for part in small.status().parts if part.name == "redis").restarts == 1)
        eventually(lambda: all(part.is_well for part in small.status().parts))
        for key in ("guardian_pid", "pid"):
            record = json.loads((state / "supervisor.json").read_text())
            os.kill(record[key], signal.SIGSTOP)
        for key in ("pid", "guardian_pid"):
            os.kill(record[key], signal.SIGKILL)
        text = small.run("ps", code=3)
        assert re.search(r"warning: an earlier run left 3 processes alive \(pid .*\) — `minikube down` ends them", text)
        text = small.run("down")
        assert text.startswith("ended what an earlier run left: ")
        assert f"pid {pid} (sleep)" in text
        eventually(lambda: not alive(pid), what="its end")
        assert not any((state / name).is_symlink() or (state / name).exists() for name in ("redis.sock", "run"))
        small.run("down", code=3)


def test_an_entry_of_a_killed_run_is_removed_when_its_service_was_removed(tmp_path: Path) -> None:
    """Redis has kept the entry, and another service answers at the same address."""
    port = free_port()
    command = f'["${{MINIKUBE_PYTHON}}", "-S", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]'
    web = f'command = {command}\nport = {port}\nhealth = "/"\n'
    with Small(tmp_path, f"[services.before]\n{web}") as small:
        small.up("--wait")
        pid = small.status().pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid), what="its end")
        eventually(lambda: "the supervisor was killed by signal 9" in small.run("ps", code=3), what="why nothing runs")
        small.write(f"[services.after]\n{web}")
        small.up("--wait")
        assert small.run("get", "after") == f"127.0.0.1:{port}\n"
        eventually(lambda: small.command("get", "before").returncode == 4, what="the end of the entry before")
        assert [one["Name"] for one in json.loads(small.run("instances", "--json"))] == ["after"]
        assert [one.name for one in small.status().instances] == ["after"]


def test_down_stops_a_supervisor_that_is_still_starting(tmp_path: Path) -> None:
    """The Redis of this test never answers; afterwards neither its process nor its socket is left."""
    server, mark = tmp_path / "redis-server", f"601.{os.getpid()}"
    server.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep {mark}\n")
    server.chmod(0o755)
    with Small(tmp_path, f"[services.a]\n{READY}") as small:
        env = {**os.environ, "MINIKUBE_REDIS_SERVER": str(server)}
        up = subprocess.Popen([*MINIKUBE, "up", "-d"], cwd=tmp_path, env=env, stderr=subprocess.PIPE)
        eventually((tmp_path / "begun").exists, what="the server")
        assert small.run("down") == "stopped\n"
        assert up.communicate(timeout=30)[1].startswith(b"minikube: ")
        assert up.returncode != 0
        assert sleeping(mark) == []
        assert not (tmp_path / ".minikube" / "redis.sock").is_symlink()


def test_a_registry_with_tls_serves_the_project_and_its_commands(tmp_path: Path, need: Callable[[str], str]) -> None:
    make_certificates(tmp_path, need("openssl"))
    tls = '[registry.tls]\ncert = "cert.pem"\nkey = "key.pem"\nca = "cert.pem"\n'
    command = '["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "-b", "${HOST}"]'
    web = f'command = {command}\nport = "auto"\nhealth = {{ tcp = true }}\n'
    (tmp_path / "own.py").write_text(
        "import time\nfrom minikube import blocking\nwith blocking.registered(health='ttl'):\n    time.sleep(1000)\n"
    )
    own = 'command = ["${MINIKUBE_PYTHON}", "own.py"]\nport = "auto"\nregister = "self"\n'
    with Small(tmp_path, f"{tls}[services.web]\n{web}[services.own]\n{own}") as small:
        small.up("--wait")
        eventually(lambda: small.until("own", "running").check == "passing", what="one that registers itself")
        assert small.run("get", "web").startswith("127.0.0.1:")
        assert "passing" in small.run("instances")


def test_an_instance_that_dies_right_after_its_ready_line_is_not_discoverable(tmp_path: Path) -> None:
    """The supervisor sees line and exit together, and must not register the dead instance."""
    services = """
[services.brief]
command = ["sh", "-c", "sleep 0.05; echo ready; exit 3"]
port = "auto"
replicas = 12
health = { log = "^ready" }
restart = "never"
"""
    with Small(tmp_path, services) as small:
        small.up()
        eventually(lambda: set(small.states().values()) == {"exited"}, what="the end of all")
        eventually(lambda: small.command("get", "brief").returncode == 4, what="an empty answer")
        for _ in range(3):  # no ended instance is registered again a moment later
            small.run("get", "brief", code=4)
