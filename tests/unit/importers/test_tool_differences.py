"""What another tool means by its keys where the manifest's differ: numbers of replicas, counts of restarts, variables, ports."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from minikube.importers import import_source, write_manifest
from minikube.manifest import fill_instance_variables, load_manifest


def made(tmp_path: Path, file: str, text: str) -> dict[str, Any]:
    """Return the services of a source, with all comments as the key ``."""
    (tmp_path / file).write_text(text)
    written = write_manifest(import_source(tmp_path / file, None))
    (tmp_path / "supervisor.toml").write_text(written)
    services: dict[str, Any] = tomllib.loads(written)["services"]
    return services | {"": " ".join(written.split()).replace(" # ", " ")}


def ran(tmp_path: Path, name: str) -> str:
    """Return what the command of a service prints as its second replica."""
    service = load_manifest(tmp_path / "supervisor.toml").services[name]
    env = {"REPLICA": "2", "PATH": "/usr/bin:/bin"} | dict(service.env)
    argv = [fill_instance_variables(word, env) for word in service.argv]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("number", ["$PC_REPLICA_NUM", "${PC_REPLICA_NUM}", "$$PC_REPLICA_NUM", "$${PC_REPLICA_NUM}"])
@pytest.mark.parametrize(
    ("line", "top"),
    [
        ('[[ 1 == 1 ]] && echo "w {}"', ""),
        ("set -o pipefail; echo w {}", "shell: {{shell_command: bash, shell_argument: -c}}\n"),
        ("set -o pipefail; echo w {}", "shell: {{shell_command: /bin/bash}}\n"),
        ("echo w {}", "shell: {{shell_command: sh}}\n"),
        ("echo w {}; true", ""),
        ("echo w {}", ""),
    ],
)
def test_a_line_of_process_compose_counts_its_replicas_from_0_in_each_shell(
    number: str, line: str, top: str, tmp_path: Path
) -> None:
    text = f"{top.format()}processes:\n  w:\n    replicas: 2\n    command: |\n      {line.format(number)}\n"
    made(tmp_path, "process-compose.yaml", text)
    assert load_manifest(tmp_path / "supervisor.toml").warnings == ()
    assert ran(tmp_path, "w") == "w 1"


@pytest.mark.parametrize("number", ["$PC_REPLICA_NUM", "$$PC_REPLICA_NUM"])
def test_a_process_of_process_compose_without_replicas_has_the_number_0(number: str, tmp_path: Path) -> None:
    made(tmp_path, "process-compose.yaml", f"processes: {{w: {{command: 'echo w {number}; true'}}}}")
    assert ran(tmp_path, "w") == "w 0"


def test_a_check_of_process_compose_has_the_number_too(tmp_path: Path) -> None:
    probe = "readiness_probe: {exec: {command: test -e up-$PC_REPLICA_NUM}}"
    found = made(tmp_path, "process-compose.yaml", f"processes: {{w: {{command: x, replicas: 2, {probe}}}}}")
    assert found["w"]["health"]["shell"] == "test -e up-$((${REPLICA} - 1))"


@pytest.mark.parametrize(
    "keys",
    [
        "restart: on-failure:3",
        "restart: 'on-failure:3'",
        "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
    ],
)
def test_compose_counts_restarts_and_not_starts(keys: str, tmp_path: Path) -> None:
    """Docker starts a container 4 times with `on-failure:3`."""
    found = made(tmp_path, "compose.yaml", f"services: {{a: {{image: x, {keys}}}}}")
    assert found["a"]["restart"]["limit"] == 4
    assert found["a"]["restart"]["max_restarts"] == 3


@pytest.mark.parametrize(
    ("instances", "text"),
    [
        ("-1", "-1 is 1 fewer than this machine has CPUs, and at least 1: 3"),
        ("-9", "-9 is 9 fewer than this machine has CPUs, and at least 1: 1"),
        ("0", "0 is as many as this machine has CPUs: 4"),
        ('"max"', "max is as many as this machine has CPUs: 4"),
    ],
)
def test_instances_of_pm2_by_the_number_of_cpus_say_so(
    instances: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert text in made(tmp_path, "pm2.json", f'[{{"script": "a.js", "instances": {instances}}}]')[""]


@pytest.mark.parametrize("key", ['"NUL": null', '"A B": "x"', '"": 1'])
def test_a_variable_of_pm2_that_is_left_out_has_a_note(key: str, tmp_path: Path) -> None:
    found = made(tmp_path, "pm2.json", f'[{{"script": "a.js", "env": {{"A": "1", {key}}}}}]')
    assert found["a"]["env"] == {"A": "1"}
    assert "line 1, apps[0].env." in found[""]


def test_a_variable_of_pm2_that_counts_up_names_the_way_to_have_it(tmp_path: Path) -> None:
    found = made(tmp_path, "pm2.json", '[{"script": "a.js", "increment_var": "PORT"}]')
    assert "apps[0].increment_var: no variable counts up from replica to replica — ${REPLICA} in env" in found[""]


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("stripe listen --forward-to localhost:3000/webhooks", None),
        ("npx wait-on http://localhost:3000 && cypress run", None),
        ("celery -A x worker --broker redis://localhost:6379/0", None),
        ("webpack serve --proxy http://localhost:3000 --port 3001", 3001),
        ("webpack serve --proxy localhost:3000 --port 3001", 3001),
        ("webpack serve --proxy=localhost:3000", None),
        ("ssh -p 2222 -L 5432:db:5432 bastion", None),
        ("ngrok http localhost:3000", None),
        ("ngrok http :3000", None),
        ("npx wait-on tcp:5432 && bin/rails s -p 3000", 3000),
        ("while ! pg_isready -p 5432; do sleep 1; done; gunicorn -b localhost:8000 app", 8000),
        ("psql -h localhost -p 5432 -c 'select 1'", None),
        ("redis-cli -p 6379 monitor", None),
        ("kcat -b localhost:9092", None),
        ("FOO=x redis-cli -p 6380 monitor", None),
        ("mysql --port 3306", None),
        ("./job --api http://127.0.0.1:8000 --metrics-port 9100", None),
        ("kubectl port-forward svc/db 5432:5432", None),
        ("bundle exec puma -b tcp://0.0.0.0:9292", 9292),
        ("uvicorn app:app --host 127.0.0.1 --port 8001", 8001),
        ("php -S localhost:8080", 8080),
        ("hypercorn --bind=127.0.0.1:8080 app", 8080),
        ("caddy reverse-proxy --from :8080 --to localhost:3000", 8080),
        ("python manage.py runserver localhost:8000", 8000),
    ],
)
def test_a_line_of_a_procfile_has_the_port_on_which_it_listens_and_none_that_it_connects_to(
    line: str, port: int | None, tmp_path: Path
) -> None:
    assert made(tmp_path, "Procfile", f"x: {line}\n")["x"].get("port") == port


@pytest.mark.parametrize(
    "line", ["PORT=4000 puma -p ${PORT:-3000}", "PORT=4000 node a.js", "A=1 PORT='4000' serve $PORT"]
)
def test_a_port_that_a_line_of_a_procfile_sets_is_the_service_s(line: str, tmp_path: Path) -> None:
    service = made(tmp_path, "Procfile", f"web: {line}\n")["web"]
    assert service["port"] == 4000
    assert "PORT" not in service.get("env", {})


def test_an_exit_code_of_supervisord_that_no_process_has_is_noted(tmp_path: Path) -> None:
    found = made(tmp_path, "supervisord.conf", "[program:a]\ncommand=x\nexitcodes=2,300\nautorestart=unexpected\n")
    assert found["a"]["restart"]["success"] == [2]
    assert "line 3: 300 is no exit code, which is at most 255" in found[""]


@pytest.mark.parametrize("option", ["command=x %(nosuch)s", "command=x\nenvironment=A='%(nosuch)d'"])
def test_an_expansion_that_supervisord_does_not_have_is_noted(option: str, tmp_path: Path) -> None:
    found = made(tmp_path, "supervisord.conf", f"[program:a]\n{option}\n")
    assert "%(nosuch) has no value here: it stays as it is written" in found[""]


@pytest.mark.parametrize("option", ["command=x %(program_name)s %(process_num)02d", "command=x %(ENV_A)s %% %(here)s"])
def test_expansions_that_supervisord_has_need_no_note(option: str, tmp_path: Path) -> None:
    assert "stays as it is written" not in made(tmp_path, "supervisord.conf", f"[program:a]\n{option}\n")[""]
