"""Every command of the control API over HTTP on real processes, the metrics for Prometheus, and every exit code."""

import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from minikube.control.client.blocking import find_supervisor
from tests.e2e.small import Small
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(300)

SERVICES = """
[services.web]
command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "127.0.0.1"]
port = "auto"
tags = ["v1"]
meta = { team = "shop" }
[services.web.health]
http = "/"
interval = "200ms"

[services.sleeper]
command = ["sleep", "1000"]

[services.task]
command = ["true"]
restart = "never"

[services.broken]
command = ["${MINIKUBE_PYTHON}", "-c", "print('cannot read its settings'); raise SystemExit(3)"]
restart = { limit = 1 }
"""


class Answer(NamedTuple):
    status: int
    body: Any


class Running(Small):
    """The project, with requests to its control API as any program would send them."""

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        endpoint = find_supervisor(self.path)
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=60)
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, data, {"Authorization": f"Bearer {endpoint.token}"})
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        return Answer(
            reply.status, text.decode() if "text/plain" in reply.headers["Content-Type"] else json.loads(text)
        )

    def command_service(self, name: str, verb: str, body: Any = None) -> None:
        answer = self.request("POST", f"/v1/services/{name}/{verb}", body)
        assert (answer.status, answer.body["ok"]) == (200, True), answer

    def targets(self, query: str = "service=web") -> list[str]:
        groups = self.request("GET", f"/v1/sd?{query}").body
        return [target for group in groups for target in group["targets"]]

    def wait_passing(self, count: int) -> None:
        eventually(lambda: len(self.targets()) == count, what=f"{count} of web passing")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels."""
        text = self.request("GET", "/metrics").body
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One run of the project for all tests of this file; each test leaves it as it was."""
    with Running(tmp_path_factory.mktemp("control"), SERVICES) as small:
        small.up()
        small.wait_passing(1)
        yield small


def test_stop_deregisters_and_start_registers_again(small: Running) -> None:
    small.command_service("web", "stop")
    assert small.states()["web"] == "stopped"
    assert small.targets() == []
    small.command_service("web", "start")
    small.wait_passing(1)


def test_restart_starts_a_new_process(small: Running) -> None:
    before = small.pid("sleeper")
    small.command_service("sleeper", "restart")
    assert small.pid("sleeper") != before


def test_kill_sends_the_signal_and_the_policy_restarts(small: Running) -> None:
    before = small.pid("sleeper")
    killed = small.metric("minikube_instance_exits_total", service="sleeper", how="signal")
    small.command_service("sleeper", "kill", {"signal": "TERM"})
    eventually(lambda: small.pid("sleeper") != before, what="another process")
    assert small.metric("minikube_instance_exits_total", service="sleeper", how="signal") == killed + 1
    assert small.metric("minikube_instance_restarts_total", service="sleeper") >= 1


def test_scale_up_and_down(small: Running) -> None:
    small.command_service("web", "scale", {"replicas": 3})
    small.wait_passing(3)
    assert len(set(small.targets())) == 3
    assert small.metric("minikube_service_replicas", service="web") == 3
    small.command_service("web", "scale", {"replicas": 1})
    small.wait_passing(1)


def test_maintenance_hides_an_instance_from_discovery_and_keeps_its_process(small: Running) -> None:
    before = small.pid("web")
    small.command_service("web", "maintenance", {"on": True, "reason": "debugging"})
    eventually(lambda: small.targets() == [], what="out of discovery")
    small.run("get", "web", code=4)
    small.command_service("web", "maintenance", {"on": False})
    small.wait_passing(1)
    assert small.pid("web") == before


def test_apply_reads_the_manifest_again_and_keeps_unchanged_services(small: Running) -> None:
    web, sleeper = small.pid("web"), small.pid("sleeper")
    small.edit('command = ["sleep", "1000"]', 'command = ["sleep", "2000"]')
    planned = small.request("POST", "/v1/apply", {"dry_run": True})
    assert (planned.status, small.pid("sleeper")) == (200, sleeper)
    assert "sleeper" in json.dumps(planned.body)
    assert small.request("POST", "/v1/apply").status == 200
    eventually(lambda: small.pid("sleeper") != sleeper, what="another sleeper")
    assert small.pid("web") == web
    small.edit("[services.sleeper]", "[services.sleeper]\nreplicas = -1")
    refused = small.request("POST", "/v1/apply")
    assert (refused.status, "services.sleeper.replicas" in refused.body["error"]) == (400, True)
    small.edit("[services.sleeper]\nreplicas = -1", "[services.sleeper]")
    small.edit('command = ["sleep", "2000"]', 'command = ["sleep", "1000"]')
    again = small.pid("sleeper")
    assert small.request("POST", "/v1/apply", {}).status == 200
    eventually(lambda: small.pid("sleeper") != again, what="the first sleeper's command again")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nobody/stop", None, 404),
        ("task/kill", None, 400),
        ("web/kill", {"signal": "NONSENSE"}, 400),
        ("web/scale", {"replicas": -1}, 400),
        ("web/scale", {"replica": 1}, 400),
    ],
)
def test_a_wrong_request_changes_nothing(path: str, body: Any, status: int, small: Running) -> None:
    before = {row.name: (row.state, row.pid) for row in small.status().instances}
    answer = small.request("POST", f"/v1/services/{path}", body)
    assert answer.status == status
    assert answer.body["error"]
    assert {row.name: (row.state, row.pid) for row in small.status().instances} == before


def test_metrics_of_the_registry_and_the_supervisor_are_served(small: Running) -> None:
    small.run("get", "web")
    for name, labels in {
        "minikube_registry_up": {},
        "minikube_registry_calls_total": {"method": "Discovery.Get", "result": "ok"},
        "minikube_registry_call_duration_seconds_count": {"method": "Discovery.Register"},
        "minikube_probes_total": {"service": "web", "prober": "registry", "result": "pass"},
        "minikube_probe_duration_seconds_count": {"service": "web", "prober": "registry"},
        "minikube_start_duration_seconds_count": {"service": "web"},
        "minikube_part_up": {"part": "redis"},
        "minikube_log_lines_total": {"service": "broken"},
        "minikube_instance_exits_total": {"service": "broken", "how": "failure"},
        "process_resident_memory_bytes": {},
    }.items():
        assert small.metric(name, **labels) > 0, name


def test_prometheus_discovers_passing_instances_with_their_labels(small: Running) -> None:
    (group,) = small.request("GET", "/v1/sd?service=web&tag=v1").body
    row = small.instance("web")
    assert row is not None
    assert group["targets"] == [row.address]
    assert group["labels"] == {
        "service": "web",
        "instance_id": row.id,
        "__meta_minikube_tags": ",v1,",
        "__meta_minikube_meta_team": "shop",
    }
    assert small.targets("tag=v2") == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("ps", 0),
        ("status", 0),
        ("logs broken", 0),
        ("events", 0),
        ("describe web task", 0),
        ("get web", 0),
        ("instances", 0),
        ("instances sleeper", 0),
        ("wait web --for healthy", 0),
        ("wait task --for completed", 0),
        ("wait broken --for exited", 0),
        ("kill -s CONT sleeper", 0),
        ("validate", 0),
        ("version", 0),
        ("kill task", 2),
        ("wait broken --for healthy", 1),
        ("up -d", 1),
        ("ps --nope", 2),
        ("wait web --for ever", 2),
        ("scale web=many", 2),
        ("kill -s NONSENSE web", 2),
        ("validate nowhere.toml", 2),
        ("ps nowhere/supervisor.toml", 2),
        ("get web --registry 127.0.0.1:1", 3),
        ("describe nobody", 4),
        ("logs nobody", 4),
        ("stop nobody", 4),
        ("wait nobody", 4),
        ("get nobody", 4),
        ("instances nobody", 4),
        ("deregister 00000000", 4),
        ("wait sleeper --for stopped --timeout 0s", 124),
    ],
)
def test_every_command_exits_with_its_code(words: str, code: int, small: Running) -> None:
    done = small.command(*words.split())
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        assert done.stdout == ""
        assert done.stderr.startswith("minikube: ")
        assert len(done.stderr.splitlines()) == 1


def test_a_start_says_what_has_come_of_it(small: Running) -> None:
    small.run("stop", "sleeper")
    assert small.run("start", "sleeper") == "sleeper started\n"
    assert small.run("start", "sleeper") == "sleeper running already\n"


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--until", "2020-01-01"), "no lines in this range of time"), (("--grep", "not-there"), "no line matches")],
)
def test_logs_without_a_line_say_so(small: Running, option: tuple[str, str], message: str) -> None:
    done = small.command("logs", *option)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"minikube: {message}\n")
    assert small.command("logs", *option, "--json").stdout == ""


def test_the_settings_of_a_service_are_described(small: Running) -> None:
    settings = small.request("GET", "/v1/services/broken").body["settings"]
    assert list(settings) == ["restart", "stop"]
    assert (settings["restart"]["limit"], settings["stop"]["timeout"]) == (1, "10s")
    assert "health:        http /, interval 200ms, timeout 2s" in small.run("describe", "web")


def test_two_projects_share_nothing(small: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Running(tmp_path_factory.mktemp("second"), SERVICES) as second:
        second.up()
        second.wait_passing(1)
        assert second.targets() != small.targets()
        assert {row.id for row in second.status().instances}.isdisjoint(row.id for row in small.status().instances)
        second.run("down")
        second.run("ps", code=3)
    assert len(small.targets()) == 1


def test_shutdown_answers_and_then_stops_everything(small: Running) -> None:
    pid = small.status().pid
    assert small.request("POST", "/v1/shutdown", {"now": False}).status == 202
    assert small.run("wait", "--for", "gone") == ""
    eventually(lambda: not (small.directory / ".minikube" / "supervisor.json").exists(), what="the end")
    # The old supervisor, which has removed its record, may still run for a moment: `up` waits for its end.
    small.up()
    assert small.status().pid != pid
    small.wait_passing(1)
