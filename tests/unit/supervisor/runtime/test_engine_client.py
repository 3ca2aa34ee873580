"""The engine's command on a machine that is short of something: what is asked is answered, not thrown."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from minikube.engine.engine import Engine
from minikube.errors import ResourceExhausted, StartError
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.container.client import ASK_S, DOUBT_S, LOOK_S, EngineClient, EngineReply
from minikube.supervisor.runtime.container.container import Container
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import Launch


class Household:
    """Starts nothing; remembers lodgers."""

    def __init__(self, error: StartError) -> None:
        self.error = error
        self.lodgers: dict[int, str] = {}

    async def start(self, command: object) -> Any:
        await trio.lowlevel.checkpoint()
        raise self.error

    def moved_out(self, pid: int) -> None:
        self.lodgers.pop(pid, None)


def client_of(household: Household) -> EngineClient:
    return EngineClient(household, Engine("docker", "/bin/docker", "mark"), Path("/"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ResourceExhausted("cannot start docker: Too many open files"), ResourceExhausted),
        (StartError("gone"), StartError),
    ],
)
async def test_a_client_that_cannot_be_started_is_an_answer(error: StartError, kind: type[StartError]) -> None:
    client = client_of(Household(error))
    answer = await client.ask("ps")
    assert not answer.good
    failure = client.failure("cannot see", answer)
    assert (type(failure), str(failure)) == (kind, f"cannot see: {error}")
    with pytest.raises(kind, match="cannot see"):
        await client.need("cannot see", "ps")


async def test_a_container_whose_start_is_undone_gives_back_what_it_held() -> None:
    household = Household(ResourceExhausted("no process left"))
    launch = Launch(ServiceSpec("x", Path("/"), ("run",)), "0badcafe", "x")
    container = Container(client_of(household), launch, "x", {}, 0, {})
    held = os.pidfd_open(os.getpid())
    container.pid, container._pidfd = 4711, held
    household.lodgers[4711] = "0badcafe"
    await container.undo()
    assert household.lodgers == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)


class Removing(EngineClient):
    """An engine that takes a second for everything."""

    async def ask(self, *_: object, **__: object) -> EngineReply:
        await trio.sleep(1.0)
        answer = EngineReply()
        answer.exit = Exit(0)
        return answer


async def test_what_a_slow_end_removes_as_well_ends_no_stop(autojump_clock: object) -> None:
    """A stop's bound is hit while an instance's own end still waits for the engine."""
    client = Removing(Household(ResourceExhausted("")), Engine("docker", "/bin/docker", "mark"), Path("/"))  # type: ignore[arg-type]
    runtime = ContainerRuntime.__new__(ContainerRuntime)
    runtime._unremoved = {"x": False}
    launch = Launch(ServiceSpec("x", Path("/"), ("run",)), "0badcafe", "x")
    container = Container(client, launch, "x", {}, 0, runtime._unremoved)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(container._remove)
        await trio.sleep(0.1)
        nursery.start_soon(runtime._remove, client, "x")
    assert runtime._unremoved == {}


class Questioned(EngineClient):
    """An engine that answers, or hangs."""

    hangs = False
    looks = 0

    async def ask(self, *arguments: str, timeout: float = ASK_S, **_: object) -> EngineReply:
        self.looks += 1
        answer = EngineReply()
        await trio.sleep(timeout if self.hangs else 0.1)
        answer.exit = None if self.hangs else Exit(0)
        return answer


@pytest.fixture
def questioned() -> tuple[Questioned, list[str]]:
    said: list[str] = []
    client = Questioned(None, Engine("docker", "/bin/docker", "mark"), Path("/"), lambda text, _: said.append(text))  # type: ignore[arg-type]
    return client, said


async def test_an_engine_that_answers_is_waited_for(
    questioned: tuple[Questioned, list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    client, said = questioned
    began = trio.current_time()
    await client.patiently(10.0, trio.sleep_forever)
    assert trio.current_time() - began == pytest.approx(10.0)
    assert (client.silent, said) == (False, [])


async def test_one_that_hangs_costs_one_patience_for_all(
    questioned: tuple[Questioned, list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    client, said = questioned
    client.hangs = True
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(client.patiently, 10.0, trio.sleep_forever)
    assert trio.current_time() - began == pytest.approx(DOUBT_S + LOOK_S)
    assert (client.looks, said) == (1, ["docker does not answer — it is not waited for"])


async def test_while_it_is_watched_silence_is_known_at_once_and_so_is_its_end(
    questioned: tuple[Questioned, list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    client, said = questioned
    client.hangs = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.watch)
        await trio.sleep(LOOK_S + 0.1)
        began = trio.current_time()
        for _ in range(20):
            await client.patiently(10.0, trio.sleep_forever)
        assert trio.current_time() == began
        client.hangs = False
        await client.wait_answer()
        assert said[1:] == ["docker answers again"]
        nursery.cancel_scope.cancel()
