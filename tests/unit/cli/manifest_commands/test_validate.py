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
    (project / "supervisor.toml").write_text(text + 'user = "nobody-here"\ngroup = "no-such"\n')
    assert run(["validate"]) == 0
    group, user = sorted(capsys.readouterr().err.splitlines(), reverse=True)
    assert group.startswith(f"{place}:4:9: services.web.group: there is no group no-such here")
    assert user.startswith(f"{place}:3:8: services.web.user: there is no user nobody-here here")
    for line, key in (('user = "root:no-such"', "user"), ('group = "no-such"', "group")):
        (project / "supervisor.toml").write_text(f"{text}{line}\n")
        assert run(["validate"]) == 0
        (warning,) = capsys.readouterr().err.splitlines()
        assert f"services.web.{key}: there is no group no-such here" in warning
    (project / "supervisor.toml").write_text('[services.web]\ncomand = "x"\n')
    assert run(["validate"]) == 2
    (only,) = capsys.readouterr().err.splitlines()
    assert "services.web.comand: unknown key" in only


def test_validate_names_files_of_containers_that_are_missing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a warning: they may be made before the start. A missing source that can be written to is made by `up`."""
    (project / "app").mkdir()
    (project / "supervisor.toml").write_text(
        '[services.a]\nbuild = "./web"\n'
        '[services.b]\nbuild = { context = "app", dockerfile = "Dockerfile.dev" }\n'
        'volumes = ["./conf/nginx.conf:/etc/nginx/nginx.conf:ro", "./data:/data", "cache:/c:ro"]\n'
        '[services.c]\nbuild = "app"\n'
    )
    assert run(["validate"]) == 0
    context, dockerfile, volume, default = (
        line.removeprefix("minikube: warning: supervisor.toml:") for line in capsys.readouterr().err.splitlines()
    )
    assert context == f"2:9: services.a.build: its build context {project}/web: no such file or directory"
    assert dockerfile == f"4:41: services.b.build.dockerfile: {project}/app/Dockerfile.dev: no such file"
    assert volume.startswith(f"5:12: services.b.volumes[0]: {project}/conf/nginx.conf: no such file or directory")
    assert default == f"7:9: services.c.build: {project}/app/Dockerfile: no such file"
    (project / "app" / "Containerfile").touch()
    (project / "app" / "Dockerfile.dev").touch()
    (project / "web").touch()
    (project / "conf").mkdir()
    (project / "conf" / "nginx.conf").touch()
    assert run(["validate"]) == 0
    (only,) = capsys.readouterr().err.splitlines()
    assert only.endswith("/web: not a directory")


def test_a_missing_file_that_services_inherit_is_named_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text(
        '[defaults]\nvolumes = ["./x.conf:/x:ro"]\n[services.a]\nimage = "a"\n[services.b]\nimage = "b"\n'
    )
    assert run(["validate"]) == 0
    (only,) = capsys.readouterr().err.splitlines()
    assert "supervisor.toml:2:12: defaults.volumes[0]: " in only
