"""Several builds: one that fails does not stop the others, and `up --build` starts what could be built."""

from pathlib import Path
from typing import Any

import pytest

from minikube.cli.app import run
from minikube.cli.commands import up
from minikube.errors import StartError
from minikube.supervisor.launch_options import LaunchOptions

SERVICES = "".join(f'[services.{name}]\nbuild = "./{name}"\n' for name in ("bad", "good", "worse"))
ENGINE = """#!/bin/sh
for word; do directory=$word; done
case $directory in
*/bad | */worse) echo "ERROR: no ${directory##*/}"; exit 1 ;;
esac
echo made
"""


@pytest.fixture
def shop(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (project / "supervisor.toml").write_text(SERVICES)
    program = project / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    return project


def failures(err: str) -> list[str]:
    return [line for line in err.splitlines() if "failed" in line]


def test_every_image_is_built_and_each_failure_is_a_line(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build"]) == 1
    out, err = capsys.readouterr()
    assert "built minikube-" in out
    assert failures(err) == [f"minikube: {name}: build of {shop / name} failed: no {name}" for name in ("bad", "worse")]
    assert run(["build", "good"]) == 0
    assert not failures(capsys.readouterr().err)


def test_up_starts_the_services_whose_images_could_be_built(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[LaunchOptions] = []

    def launch(_: Path, options: LaunchOptions) -> Any:
        launched.append(options)
        raise StartError("not launched by this test")

    monkeypatch.setattr(up, "launch", launch)
    assert run(["up", "--build", "-d"]) == 1
    err = capsys.readouterr().err
    assert [options.unbuilt for options in launched] == [("bad", "worse")]
    assert len(failures(err)) == 2
    assert "starting the services whose images could be built" in err
