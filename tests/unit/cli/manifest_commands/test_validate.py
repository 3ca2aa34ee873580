"""`validate`: all mistakes of a manifest, and warnings about this machine."""

import json
from pathlib import Path

import pytest

from minikube.cli.app import run

SERVICE = '[services.x]\ncommand = "run"\n'


def test_validate_reports_all_problems_as_text_and_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text(SERVICE + "port = 0\nreplicas = -1\n")
    assert run(["validate"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "minikube: supervisor.toml:3:8: services.x.port: expected an integer from 1 to 65535, got 0",
        "minikube: supervisor.toml:4:12: services.x.replicas: expected an integer from 0 to 1000, got -1",
    ]
    assert run(["validate", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert report["problems"][0] == {
        "file": "supervisor.toml",
        "line": 3,
        "column": 8,
        "path": "services.x.port",
        "message": "expected an integer from 1 to 65535, got 0",
    }
    assert len(report["problems"]) == 2
    (project / "supervisor.toml").write_text(SERVICE + 'env = { A = "${NOPE}" }\n')
    assert run(["validate"]) == 0
    assert "minikube: warning: supervisor.toml:3:13: services.x.env.A: NOPE is not set" in capsys.readouterr().err
    assert run(["validate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["services"] == ["x"]


def test_validate_reports_what_up_would_refuse_on_this_machine(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong pattern is an error; a missing user or directory is a warning, as it may exist on another machine."""
    text = '[services.web]\ncommand = "x"\n'
    (project / "supervisor.toml").write_text(text + 'watch = ["src", "[z-a]"]\n')
    assert run(["validate"]) == 2
    assert 'the part in brackets is malformed, got "[z-a]"' in capsys.readouterr().err
    (project / "supervisor.toml").write_text(text + 'user = "nobody-here"\ncwd = "supervisor.toml"\n')
    assert run(["validate"]) == 0
    user, directory = capsys.readouterr().err.splitlines()
    place = "minikube: warning: supervisor.toml"
    assert user.startswith(f"{place}:3:8: services.web.user: there is no user nobody-here here")
    assert directory.startswith(f"{place}:4:7: services.web.cwd: its working directory")
    assert directory.endswith("supervisor.toml: not a directory")
    (project / "supervisor.toml").write_text('[services.web]\ncomand = "x"\n')
    assert run(["validate"]) == 2
    (only,) = capsys.readouterr().err.splitlines()
    assert "services.web.comand: unknown key" in only
