"""Several builds: one that fails keeps nobody else's from being made, and what it left behind is not run."""

from pathlib import Path
from typing import Any, cast

import pytest
import trio

from minikube.cli.app import run
from minikube.cli.commands import up
from minikube.engine.engine import Engine
from minikube.errors import StartError
from minikube.manifest import BuildSpec, ServiceSpec
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.container.images import Images
from minikube.supervisor.runtime.exit_status import Exit

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


def told(err: str) -> list[str]:
    return [line for line in err.splitlines() if "failed" in line]


def test_every_image_is_tried_and_each_failure_is_a_line(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build"]) == 1
    out, err = capsys.readouterr()
    assert "built minikube-" in out
    assert told(err) == [f"minikube: {name}: build of {shop / name} failed: no {name}" for name in ("bad", "worse")]
    assert run(["build", "good"]) == 0
    assert not told(capsys.readouterr().err)


def test_up_goes_on_with_what_could_be_built(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[LaunchOptions] = []

    def launch(_: Path, options: LaunchOptions) -> Any:
        launched.append(options)
        raise StartError("far enough")

    monkeypatch.setattr(up, "launch", launch)
    assert run(["up", "--build", "-d"]) == 1
    err = capsys.readouterr().err
    assert [options.unbuilt for options in launched] == [("bad", "worse")]
    assert len(told(err)) == 2
    assert "going on with what could be built" in err


def answer(status: int) -> EngineReply:
    given = EngineReply()
    given.exit = Exit(status)
    return given


class Built:
    """An engine that has every image; its builds go as told."""

    engine = Engine("docker", "/bin/docker", "mark")

    def __init__(self) -> None:
        self.good = False
        self.asked: list[str] = []

    async def ask(self, *arguments: str, insist: bool = True) -> EngineReply:
        await trio.lowlevel.checkpoint()
        self.asked.append("has")
        return answer(0)

    async def show(self, *_: object, env: object = None) -> EngineReply:
        await trio.lowlevel.checkpoint()
        self.asked.append("build")
        return answer(0 if self.good else 1)

    def failure(self, what: str, _: EngineReply) -> StartError:
        return StartError(what)


async def test_what_could_not_be_built_is_not_run_from_an_older_image_nor_built_again_before_somebody_asks() -> None:
    engine = Built()
    images = Images(cast("EngineClient", engine), "shop", ("bad",))
    good, bad = (ServiceSpec(name, Path("/shop"), build=BuildSpec(Path("/shop"))) for name in ("good", "bad"))

    async def ensure(spec: ServiceSpec) -> None:
        await images.ensure(spec, cast("Any", None), lambda _: None)

    await ensure(good)
    with pytest.raises(StartError, match="its build failed when `up` began"):
        await ensure(bad)
    with pytest.raises(StartError, match="build of /shop failed"):
        await ensure(bad)
    engine.good = True
    await ensure(bad)
    await ensure(bad)
    assert engine.asked == ["has", "build", "build", "has"]  # the good one, twice the bad one, which is there then
