"""`init`: the first manifest runs, and no file is overwritten or left half written."""

import tomllib
from pathlib import Path

import pytest

from minikube.cli.app import run
from minikube.cli.templates.catalog import NAMES, load_template


def test_init_writes_a_valid_manifest_and_overwrites_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init"]) == 0
    assert tomllib.loads((project / "supervisor.toml").read_text())["name"]
    assert (project / "site" / "index.html").read_text()
    compile((project / "clock.py").read_text(), "clock.py", "exec")
    assert run(["validate"]) == 0
    assert "good, 2 services" in capsys.readouterr().out
    (project / "supervisor.toml").write_text("mine")
    (project / "clock.py").unlink()
    (project / "site" / "index.html").unlink()
    assert run(["init"]) == 2
    assert "exists already — nothing was written" in capsys.readouterr().err
    assert (project / "supervisor.toml").read_text() == "mine"
    assert not (project / "clock.py").exists()
    assert run(["init", "deeper/one"]) == 0
    assert "minikube up deeper/one/supervisor.toml" in capsys.readouterr().out


def test_what_init_writes_serves_no_file_of_the_project_itself(project: Path) -> None:
    """A file server of the manifest's directory would show the control API's token to every user of the machine."""
    assert run(["init"]) == 0
    command = tomllib.loads((project / "supervisor.toml").read_text())["services"]["web"]["command"]
    assert command.endswith(" --directory site")


def test_init_leaves_nothing_half_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minikube.cli.manifest_commands.init.CLOCK", "\udc80")
    monkeypatch.setattr("minikube.cli.manifest_commands.init.FIRST_MANIFEST", "{name}")
    monkeypatch.setenv("MINIKUBE_DEBUG", "1")
    with pytest.raises(UnicodeEncodeError):
        run(["init"])
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("template", NAMES)
def test_each_template_is_a_valid_project_and_overwrites_nothing(
    template: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--template", template, "shop"]) == 0
    written = sorted(str(path.relative_to("shop")) for path in Path("shop").rglob("*") if path.is_file())
    manifest = tomllib.loads((project / "shop" / "supervisor.toml").read_text())
    assert manifest["name"] == "shop"
    assert load_template(template).marker in written
    assert "start them with: minikube up shop/supervisor.toml" in capsys.readouterr().out
    for path in Path("shop").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    assert run(["init", "--template", template, "shop"]) == 2
    assert "shop/supervisor.toml exists already — nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize("template", NAMES)
def test_a_template_writes_its_manifest_alone_where_the_directory_has_a_project(
    template: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = load_template(template).marker
    (project / marker).write_text("mine")
    assert run(["init", "--template", template]) == 0
    assert sorted(path.name for path in project.iterdir()) == sorted(["supervisor.toml", marker])
    assert (project / marker).read_text() == "mine"
    assert f"{marker} is there already, so that no other file was written" in capsys.readouterr().out
    assert run(["validate"]) == 0


def test_a_file_of_a_template_that_is_there_is_refused_and_git_ignore_is_kept(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".gitignore").write_text("mine")
    (project / "server.js").write_text("mine")
    assert run(["init", "--template", "node"]) == 2
    assert "server.js exists already — nothing was written" in capsys.readouterr().err
    (project / "server.js").unlink()
    assert run(["init", "--template", "node"]) == 0
    assert (project / ".gitignore").read_text() == "mine"


def test_templates_are_listed_and_an_unknown_one_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
    assert run(["init", "--template", "fast-api"]) == 2
    assert "--template fast-api: no such template (did you mean fastapi?)" in capsys.readouterr().err
    assert list(project.iterdir()) == []


@pytest.mark.parametrize(
    ("programs", "runs"),
    [
        (["docker", "redis-server"], {"image": "redis:7"}),
        (["valkey-server"], {"command": ["valkey-server", "--port", "${PORT}", "--bind", "${HOST}", "--dir", "data"]}),
        ([], {"image": "redis:7"}),
    ],
)
def test_the_database_is_a_container_where_there_is_an_engine(
    programs: list[str], runs: dict[str, object], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "bin").mkdir()
    for name in programs:
        (project / "bin" / name).write_text("#!/bin/sh\n")
        (project / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(project / "bin"))
    assert run(["init", "--template", "web-worker-db", "shop"]) == 0
    database = tomllib.loads((project / "shop" / "supervisor.toml").read_text())["services"]["db"]
    assert database.items() >= runs.items()


@pytest.mark.parametrize("words", [[], *(["--template", name] for name in NAMES)])
def test_a_new_project_does_not_offer_the_runs_files_to_git(project: Path, words: list[str]) -> None:
    """An own `.gitignore` stays as it is."""
    for name, own in (("new", ""), ("go", "*.o\n")):
        (project / name).mkdir()
        if own:
            (project / name / ".gitignore").write_text(own)
        assert run(["init", *words, name]) == 0
        text = (project / name / ".gitignore").read_text()
        assert text == own or "/.minikube/\n" in text
        assert (text == own) if own else ("/.minikube/\n" in text)


def test_the_module_of_a_go_project_has_a_valid_path_in_any_directory(project: Path) -> None:
    """`module go` is none."""
    assert run(["init", "--template", "go", "go"]) == 0
    assert (project / "go" / "go.mod").read_text().startswith("module example.com/go\n")
