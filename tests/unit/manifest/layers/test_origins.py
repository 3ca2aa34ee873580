"""`config --origins`: where each value of a manifest comes from."""

import json
from pathlib import Path
from typing import Any

import pytest

from minikube.cli.app import run
from minikube.cli.render.origins import origin_lines
from minikube.manifest.dump import dump_manifest
from minikube.manifest.layers.origins import Origin, find_origins
from minikube.manifest.load import read_manifest
from minikube.project_dir import files_at

BASE = """\
env_file = { path = "missing.env", required = false }
[env]
LEVEL = "${LEVEL:-info}"
[defaults]
tags = ["d"]
restart = "never"
[services.base]
env = { MODE = "${MODE}", PASSWORD = "${PW}" }
depends_on = ["web"]
[services.web]
command = "serve ${PORT} ${MODE} ${HOME}"
port = "auto"
health = "/"
[services.w]
extends = "base"
shell = "echo ${NOPE} ${MODE}"
[services.c]
image = "c"
args = ["${MINIKUBE_PYTHON}", "${UNSET}"]
"""
OVERRIDE = """\
services.web.port = 8080
[services.w]
tags = ["o"]
limits.nofile = 100
"""


@pytest.fixture
def origins(tmp_path: Path) -> dict[str, Origin]:
    (tmp_path / "supervisor.toml").write_text(BASE)
    (tmp_path / "supervisor.override.toml").write_text(OVERRIDE)
    (tmp_path / ".env").write_text("MODE=dev\n  PW=geheim\nHOME=/x\nREDIS_URL=redis://x:1\n")
    manifest, reading = read_manifest(files_at(tmp_path), {"HOME": "/root", "MINIKUBE_REDIS_URL": "redis://y:1"})
    return {origin.path: origin for origin in find_origins(reading, dump_manifest(manifest))}


@pytest.mark.parametrize(
    ("path", "kind", "place"),
    [
        ("services.web.command", "file", "supervisor.toml:11:11"),
        ("services.web.health.http", "file", "supervisor.toml:13:10"),
        ("services.web.port", "override", "supervisor.override.toml:1:21"),
        ("services.web.tags", "defaults", "supervisor.toml:5:8"),
        ("services.web.restart.policy", "defaults", "supervisor.toml:6:11"),
        ("services.web.env.LEVEL", "shared", "supervisor.toml:3:9"),
        ("services.web.env_file", "shared", "supervisor.toml:1:12"),
        ("services.w.tags", "override", "supervisor.override.toml:3:8"),
        ("services.w.limits.nofile", "override", "supervisor.override.toml:4:17"),
        ("services.w.env.MODE", "extends", "supervisor.toml:8:16"),
        ("services.w.depends_on.web", "extends", "supervisor.toml:9:15"),
        ("services.c.command", "file", "supervisor.toml:19:8"),
        ("services.w.cwd", "default", ""),
        ("services.web.env.REDIS_URL", "variable", ""),
        ("redis.url", "variable", ""),
        ("name", "directory", ""),
        ("registry.listen", "default", ""),
    ],
)
def test_each_value_has_its_origin(origins: dict[str, Origin], path: str, kind: str, place: str) -> None:
    origin = origins[path]
    file = Path(origin.file).name if origin.file else ""
    assert (origin.kind, f"{file}:{origin.line}:{origin.column}" if file else "") == (kind, place)
    assert origin.service == ("base" if kind == "extends" else "")


@pytest.mark.parametrize(
    ("path", "variables"),
    [
        ("services.web.command", {"PORT": "instance", "MODE": ".env:1:1", "HOME": "environment"}),
        ("services.web.env.LEVEL", {"LEVEL": "default"}),
        ("services.w.shell", {"NOPE": "shell", "MODE": ".env:1:1"}),
        ("services.w.env.PASSWORD", {"PW": ".env:2:3"}),
        ("services.c.command", {"MINIKUBE_PYTHON": "instance", "UNSET": "unset"}),
        ("redis.url", {"MINIKUBE_REDIS_URL": "environment"}),
        ("services.c.env.REDIS_URL", {"REDIS_URL": ".env:4:1"}),
        ("services.web.port", {}),
    ],
)
def test_each_variable_in_a_value_has_its_origin(
    origins: dict[str, Origin], path: str, variables: dict[str, str]
) -> None:
    found = {
        variable.name: f"{Path(variable.file).name}:{variable.line}:{variable.column}"
        if variable.file
        else variable.source
        for variable in origins[path].variables
    }
    assert found == variables


def test_the_text_is_aligned_and_fits_into_a_terminal_of_80_columns_and_shows_no_secret(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "supervisor.toml").write_text(
        '[services.x]\ncommand = ["sh", "-c", "a long line that has to be cut somewhere before its end, ö"]\n'
        'env = { PASSWORD = "${PW:-geheim}", URL = "redis://me:geheim@h" }\n'
    )
    assert run(["config", "--origins"]) == 0
    whole = capsys.readouterr().out
    assert 'be cut somewhere before its end, ö"]' in whole  # a pipe gets whole values
    with monkeypatch.context() as patch:
        patch.setattr("minikube.cli.manifest_commands.config.is_terminal", lambda: True)
        assert run(["config", "--origins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 80
    assert "geheim" not in "".join(lines)
    assert {line.index(line.split()[1]) for line in lines if " = " in line} == {lines[0].index("name")}
    assert any(line.startswith("supervisor.toml:2:11  services.x.command = [") and line.endswith("…") for line in lines)
    assert lines[lines.index('supervisor.toml:3:20  services.x.env.PASSWORD = "***"') + 1].split() == [
        *("${PW}:", "its", "default", "here"),
    ]
    assert run(["config", "--origins", "--json"]) == 0
    text = capsys.readouterr().out
    found: list[dict[str, Any]] = json.loads(text)
    assert "geheim" not in text
    assert {"path", "value", "kind", "file", "line", "column", "service", "variables"} == found[0].keys()


def test_a_free_port_is_shown_as_auto(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text(
        '[registry]\nlisten = "auto"\n[control]\nlisten = "127.0.0.2:0"\n[services.x]\ncommand = "x"\n'
    )
    assert run(["config", "--origins"]) == 0
    text = capsys.readouterr().out
    assert 'registry.listen = "auto"' in text
    assert 'control.listen = "127.0.0.2:0"' in text
    assert run(["config"]) == 0
    assert '[registry]\nlisten = "auto"' in capsys.readouterr().out


def test_a_long_place_does_not_push_the_others_aside() -> None:
    far = Origin("a", 1, "file", f"/{'d' * 60}/x.toml", 1, 1)
    first, second = origin_lines([far, Origin("b", True, "file", "y.toml", 1, 1)], 80)
    assert first.endswith("x.toml:1:1  a = 1")
    assert second == "y.toml:1:1  b = true"


def test_the_interpreter_is_a_variable_of_minikube(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text('[services.x]\nimage = "${MINIKUBE_PYTHON}"\n')
    manifest, reading = read_manifest(files_at(tmp_path), {})
    (found,) = [one for one in find_origins(reading, dump_manifest(manifest)) if one.path == "services.x.image"]
    assert [(variable.name, variable.source) for variable in found.variables] == [("MINIKUBE_PYTHON", "minikube")]
