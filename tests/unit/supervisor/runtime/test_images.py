"""Images are built and pulled before an instance starts; a failed build is not repeated until it is requested."""

from pathlib import Path
from typing import Any, cast

import pytest
import trio

from minikube.engine.command import Engine
from minikube.errors import StartError
from minikube.manifest import BuildSpec, ServiceSpec
from minikube.supervisor.runtime.container.client import EngineClient, EngineReply
from minikube.supervisor.runtime.container.images import Images
from minikube.supervisor.runtime.exit_status import Exit


def reply(status: int) -> EngineReply:
    result = EngineReply()
    result.exit = Exit(status)
    return result


class FakeEngine:
    """An engine that has every image. Its builds succeed where `builds_succeed`."""

    engine = Engine("docker", "/bin/docker", "mark")

    def __init__(self) -> None:
        self.builds_succeed = False
        self.calls: list[str] = []

    async def run(self, *arguments: str, needs_answer: bool = True) -> EngineReply:
        await trio.lowlevel.checkpoint()
        self.calls.append("inspect")
        return reply(0)

    async def run_with_output(self, *_: object, env: object = None) -> EngineReply:
        await trio.lowlevel.checkpoint()
        self.calls.append("build")
        return reply(0 if self.builds_succeed else 1)

    def failure(self, what: str, _: EngineReply) -> StartError:
        return StartError(what)


async def test_after_a_failed_build_no_older_image_is_started_and_only_a_later_start_builds_again() -> None:
    engine = FakeEngine()
    images = Images(cast("EngineClient", engine), "shop", ("bad",))
    good, bad = (ServiceSpec(name, Path("/shop"), build=BuildSpec(Path("/shop"))) for name in ("good", "bad"))

    async def ensure(spec: ServiceSpec) -> None:
        await images.ensure(spec, cast("Any", None), lambda _: None)

    await ensure(good)
    with pytest.raises(StartError, match="its build failed when `up` began"):
        await ensure(bad)
    with pytest.raises(StartError, match="build of /shop failed"):
        await ensure(bad)
    engine.builds_succeed = True
    await ensure(bad)
    await ensure(bad)
    # The good one; the bad one's failed and its successful build; then its image is there.
    assert engine.calls == ["inspect", "build", "build", "inspect"]
