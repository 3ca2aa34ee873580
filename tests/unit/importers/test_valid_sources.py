"""A source that its own tool takes becomes a manifest that validates, whichever of its keys stand together."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube.importers import import_source, write_manifest
from minikube.manifest import load_manifest

Values = dict[str, tuple[Any, ...]]

PM2: Values = {
    "args": ("--port 3000", ["a"]),
    "instances": (2, 0, -1, "max"),
    "exec_mode": ("cluster", "fork"),
    "watch": (True, ["src"]),
    "ignore_watch": (["node_modules"],),
    "cron_restart": ("0 3 * * *",),
    "autorestart": (True, False),
    "autostart": (False,),
    "env": ({"PORT": 3000}, {"A": "1", "B": None}),
    "port": (4000,),
    "stop_exit_codes": ([0, 2],),
    "restart_delay": (100,),
    "exp_backoff_restart_delay": (100,),
    "max_memory_restart": ("300M",),
    "namespace": ("back end",),
    "kill_timeout": (100,),
    "increment_var": ("PORT",),
}
PROCESS_COMPOSE: Values = {
    "replicas": (2,),
    "schedule": ({"cron": "0 3 * * *"}, {"interval": "30s", "run_on_start": True}),
    "watch": ({"paths": [{"path": "src", "include": ["*.go"]}]},),
    "availability": ({"restart": "always"}, {"restart": "on_failure", "max_restarts": 2}, {"exit_on_end": True}),
    "readiness_probe": (
        {"http_get": {"host": "127.0.0.1", "port": 8080, "path": "/"}},
        {"exec": {"command": "test $PC_REPLICA_NUM -ge 0"}},
    ),
    "ready_log_line": ("up [1]",),
    "shutdown": ({"signal": 2, "timeout_seconds": 3}, {"command": "stop it"}),
    "environment": (["A=1", "B=$PC_REPLICA_NUM"],),
    "disabled": (True,),
    "is_foreground": (True,),
    "namespace": (["a", "b"],),
    "log_configuration": ({"rotation": {"max_size_mb": 1}},),
}
COMPOSE: Values = {
    "network_mode": ("host", "bridge", "none"),
    "ports": (["7777:7777"], ["8080:80", "53:53/udp"], ["9000-9002:80"], ["80"], ["5-7:5-7"]),
    "deploy": ({"replicas": 3}, {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}),
    "healthcheck": ({"test": "true"}, {"disable": True}, {"test": ["CMD", "true"], "retries": 2}),
    "restart": ("always", "on-failure:3", "no"),
    "init": (True,),
    "volumes": (["data:/data"], ["/anonymous"]),
    "command": ("serve", ["serve", "${X:-1}"]),
    "working_dir": ("/app",),
    "user": ("1000:1000",),
    "extra_hosts": (["a:1.2.3.4", "b:host-gateway"],),
    "stop_grace_period": ("1m30s",),
    "profiles": (["debug"],),
    "expose": (["80"],),
    "links": (["db:database"],),
    "depends_on": (["db"], {"db": {"condition": "service_healthy"}}),
    "develop": ({"watch": [{"action": "rebuild", "path": "./src"}]},),
}
SUPERVISORD: Values = {
    "numprocs": (2,),
    "process_name": ("%(program_name)s_%(process_num)02d",),
    "numprocs_start": (3,),
    "autostart": ("false",),
    "autorestart": ("true", "false", "unexpected"),
    "startretries": (0, 5),
    "exitcodes": ("0,2",),
    "environment": ("A=\"x\",B='%(process_num)d'",),
    "umask": ("022",),
    "priority": (1, 5),
    "stopsignal": ("QUIT",),
    "stopwaitsecs": (0, 5),
    "directory": ("/tmp",),
    "stopasgroup": ("true",),
    "redirect_stderr": ("true",),
}


def chosen(values: Values) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of some of the keys, each with one of its values."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(of_key) for key, of_key in values.items()})


def problems_of(file: str, text: str) -> list[str]:
    """Return what validation says about the manifest that a source becomes."""
    with TemporaryDirectory() as directory:
        source = Path(directory) / file
        source.write_text(text)
        manifest = Path(directory) / "supervisor.toml"
        manifest.write_text(write_manifest(import_source(source, None)))
        return list(load_manifest(manifest, {"PATH": os.environ["PATH"]}).warnings)


@settings(max_examples=120, deadline=None)
@given(chosen(PM2))
def test_an_app_of_pm2(app: dict[str, Any]) -> None:
    assert problems_of("pm2.json", json.dumps({"apps": [{"name": "a", "script": "./a.js"} | app]})) == []


@settings(max_examples=120, deadline=None)
@given(
    chosen(PROCESS_COMPOSE),
    st.sampled_from(["process_started", "process_healthy", "process_completed", "process_completed_successfully"]),
)
def test_a_process_of_process_compose_and_one_that_waits_for_it(process: dict[str, Any], condition: str) -> None:
    waiting = {"command": "b", "depends_on": {"a": {"condition": condition}}}
    made = {"processes": {"a": {"command": "a --num $PC_REPLICA_NUM"} | process, "b": waiting}}
    problems = problems_of("process-compose.yaml", json.dumps(made))
    assert [line for line in problems if "is restarted whenever it ends" not in line] == []


@settings(max_examples=120, deadline=None)
@given(chosen(COMPOSE))
def test_a_service_of_compose(service: dict[str, Any]) -> None:
    made = {"services": {"a": {"image": "x"} | service, "db": {"image": "y"}}, "volumes": {"data": None}}
    problems_of("compose.yaml", json.dumps(made))


@settings(max_examples=120, deadline=None)
@given(chosen(SUPERVISORD))
def test_a_program_of_supervisord(program: dict[str, Any]) -> None:
    lines = [f"{key}={value}" for key, value in ({"command": "a %(process_num)d"} | program).items()]
    assert problems_of("supervisord.conf", "\n".join(["[program:a]", *lines, "[program:b]", "command=b"])) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pm2.json", '[{"script": "a.js", "watch": true, "cron_restart": "0 3 * * *", "autorestart": false}]'),
        (
            "process-compose.yaml",
            "processes: {a: {command: x, schedule: {cron: 0 3 * * *}, watch: {paths: [{path: src}]}}}",
        ),
        (
            "process-compose.yaml",
            "processes: {a: {command: x, schedule: {interval: 5s}, availability: {restart: always}}}",
        ),
        (
            "process-compose.yaml",
            "processes: {a: {command: x, schedule: {interval: 5s}}, b: {command: y, depends_on: {a: {}}}}",
        ),
        (
            "compose.yaml",
            'services: {a: {image: x, network_mode: host, ports: ["7777:7777"], deploy: {replicas: 3}}}',
        ),
        ("compose.yaml", 'services: {a: {image: x, network_mode: host, ports: ["7:7"], scale: "${N:-3}"}}'),
    ],
)
def test_keys_that_a_manifest_does_not_take_together(file: str, text: str) -> None:
    assert problems_of(file, text) == []
