"""`init`: the first manifest runs, and no file is overwritten or left half written."""

import tomllib
from pathlib import Path

import pytest

from minikube.cli.app import run


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
