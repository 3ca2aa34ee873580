"""What `up` starts and when it ends: profiles, names, --wait, --exit-with, and two projects at once."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.e2e.small import MINIKUBE, READY, SLEEP, Small
from tests.eventually import eventually

SERVER = '["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "${HOST}"]'
SERVICES = f"""
[services.db]
{READY}
[services.api]
{READY}
depends_on = {{ db = "started" }}
[services.debug]
{READY}
profiles = ["dev"]
depends_on = {{ mock = "started" }}
[services.mock]
{READY}
profiles = ["mock"]
[services.tests]
command = ["sh", "-c", "echo tested; exit 3"]
profiles = ["test"]
depends_on = {{ db = "started" }}
[services.broken]
command = "no-such-program"
profiles = ["broken"]
"""


def test_profiles_decide_which_services_start_and_others_can_be_started_later(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        small.up("--wait")
        assert {name for name, state in small.states().items() if state == "running"} == {"db", "api"}
        assert re.search(r"^debug +stopped .* not started by `up`", small.run("ps"), re.MULTILINE)
        assert "debug started" in small.run("start", "debug")
        assert small.pid("debug")
        assert small.pid("mock"), "what it needs is started with it"
        small.run("down")
        message = small.run("up", "-d", "--profile", "dev", code=2)
        assert "debug: depends on mock, which is only in the profile mock — add --profile mock" in message
        small.up("--wait", "--profile", "dev", "--profile", "mock")
        assert small.states()["debug"] == "running"
        small.run("down")
        assert small.command("up", "-d", "--wait", env={"MINIKUBE_PROFILES": "dev, other"}).returncode == 2


def test_named_services_start_with_their_dependencies(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        small.up("--wait", "db")
        assert [name for name, state in small.states().items() if state == "running"] == ["db"]
        small.run("down")
        small.up("--wait", "supervisor.toml", "debug", "mock", "api")
        assert {name for name, state in small.states().items() if state == "running"} == {"db", "api", "debug", "mock"}


def test_unknown_names_start_nothing(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        assert "apo: no such service in the manifest (did you mean api?)" in small.run("up", "-d", "apo", code=2)
        assert "--profile x: no service has this profile" in small.run("up", "-d", "--profile", "x", code=2)
        assert "--exit-with tests: this service is not started" in small.run("up", "--exit-with", "tests", code=2)
        assert "--exit-with waits for the end of a service" in small.run("up", "-d", "--exit-with", "db", code=2)
        assert not (tmp_path / ".minikube").exists()


def test_exit_with_stops_everything_and_returns_the_exit_code_of_the_service(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        text = small.run("up", "--profile", "test", "--exit-with", "tests", code=3)
        assert "tests    | tested" in text
        assert text.endswith("stopped, as tests ended: exit 3\n")
        small.run("ps", code=3)
        text = small.run("up", "broken", "--exit-with", "broken", code=1)
        assert "command not found: no-such-program" in text
        small.edit("echo tested; exit 3", "seq 50000")
        assert len(re.findall(r"(?m)^tests +\| \d+$", small.run("up", "tests", "--exit-with", "tests"))) == 50_000
        small.edit("seq 50000", "kill -9 $$$$")
        assert small.command("up", "tests", "--exit-with", "tests").returncode == 128 + signal.SIGKILL
        small.write(
            '[services.db]\ncommand = ["nosuchprogram"]\n[services.tests]\ncommand = "true"\ndepends_on = { db = "started" }\n'
        )
        text = small.run("up", "--exit-with", "tests", code=1)
        assert "stopped, as tests ended: waiting for db to be started: db is fatal" in text, "it would never start"


def test_wait_in_the_foreground_ends_with_ready_or_with_a_failure(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        text = small.run("up", "--wait", "db", "broken", code=1)
        assert "broken is fatal: command not found" in text
        assert text.endswith("stopped\n")
        up = subprocess.Popen(
            [*MINIKUBE, "up", "--wait", "--plain"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert up.stdout is not None
        assert any("ready after" in line for line in up.stdout)
        up.terminate()
        up.communicate(timeout=60)
        assert up.returncode == 0
        small.edit(f"[services.debug]\n{READY}", f'[services.debug]\n{SLEEP}health = {{ log = "never said" }}\n')
        text = small.run("up", "--wait", "--timeout", "100ms", "debug", "mock", code=124)
        assert re.search(r"waited 0\.1s: .*debug is", text)


def test_wait_with_detach_reports_the_failure_and_leaves_the_rest_running(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        assert "broken is fatal" in small.run("up", "-d", "--wait", "--profile", "broken", code=1)
        assert small.pid("db")
        assert f"is running already (pid {small.status().pid})" in small.run("up", "-d", code=1)


def test_two_projects_without_chosen_ports_run_at_the_same_time(tmp_path: Path) -> None:
    """Both would use 5555 and 5556. A port that the manifest sets and that is taken is an error that names its owner."""
    one, two = Small(tmp_path_of(tmp_path, "one")), Small(tmp_path_of(tmp_path, "two"))
    with one, two:
        for small in (one, two):
            small.path.write_text(f'[services.x]\n{SLEEP}port = "auto"\nhealth = {{ log = "never" }}\n')
            text = small.up()
        [line] = [line for line in text.splitlines() if "is taken" in line]
        assert "registry: port 5555 is taken" in line
        assert line.count("a free one is used") == 2, "both ports in one line"
        report = two.run("doctor")
        assert "this project uses a free one" in report
        assert "will be used" not in report
        assert one.status().registry != two.status().registry
        messages = [message for small in (one, two) for message in small.events("supervisor.port_changed")]
        assert any(": port 5555 is taken" in message and "a free one is used" in message for message in messages)
        two.run("down")
        port = one.status().registry.rpartition(":")[2]
        two.path.write_text(f'[registry]\nlisten = "127.0.0.1:{port}"\n[services.x]\n{SLEEP}')
        text = two.run("up", "-d", code=1)
        registry = next(part.pid for part in one.status().parts if part.name == "registry")
        assert f"registry: port {port} is taken by pid {registry} (minikube of {one.directory})" in text
        assert 'set registry.listen (to "auto": a free one)' in text


def test_each_of_two_projects_registers_its_services_in_its_own_registry(tmp_path: Path) -> None:
    one, two = Small(tmp_path_of(tmp_path, "one")), Small(tmp_path_of(tmp_path, "two"))
    server = f'command = {SERVER}\nport = "auto"\nhealth = "/"\n'
    with one, two:
        for small in (one, two):
            small.path.write_text(f"[services.web]\n{server}")
            small.up("--wait")
        for small in (one, two):
            ids = [row["Uuid"] for row in json.loads(small.run("instances", "--json"))]
            assert ids == [instance.id for instance in small.status().instances]


def tmp_path_of(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_a_registry_on_a_free_port_is_found_and_keeps_its_port_after_a_restart(tmp_path: Path) -> None:
    service = f'[services.web]\ncommand = {SERVER}\nport = "auto"\n'
    with Small(tmp_path, service) as small:
        small.up("--wait")
        address = small.run("get", "web").strip()
        row = small.instance("web")
        assert row is not None
        assert address == row.address
        registry = small.status().registry
        before = next(part.pid for part in small.status().parts if part.name == "registry")
        os.kill(before, signal.SIGKILL)

        def is_back() -> bool:
            part = next(part for part in small.status().parts if part.name == "registry")
            return part.pid not in (0, before) and part.state == "running"

        eventually(is_back, what="the registry is running again")
        assert small.status().registry == registry
        assert eventually(lambda: small.command("get", "web").stdout.strip(), what="web is found") == address
