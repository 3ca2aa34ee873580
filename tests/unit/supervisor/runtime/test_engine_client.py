"""The engine's command: failures are replies, not exceptions, and an engine that hangs costs one time-out for all questions."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from minikube.engine.command import Engine
from minikube.errors import ResourceExhausted, StartError
from minikube.manifest import ServiceSpec
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.runtime.container.client import (
    COMMAND_TIMEOUT_S,
    DOUBT_DELAY_S,
    PROBE_TIMEOUT_S,
    EngineClient,
    EngineReply,
)
from minikube.supervisor.runtime.container.container import Container
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import Launch


class FailingTable:
    """A process table whose starts fail; it keeps external processes."""

    def __init__(self, error: StartError) -> None:
        self.error = error
        self.external: dict[int, str] = {}

    async def start(self, command: object) -> Any:
        await trio.lowlevel.checkpoint()
        raise self.error

    def remove_external(self, pid: int) -> None:
        self.external.pop(pid, None)


def client_of(process_table: FailingTable) -> EngineClient:
    return EngineClient(process_table, Engine("docker", "/bin/docker", "mark"), Path("/"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ResourceExhausted("cannot start docker: Too many open files"), ResourceExhausted),
        (StartError("no such program"), StartError),
    ],
)
async def test_a_command_that_cannot_be_started_is_a_reply(error: StartError, kind: type[StartError]) -> None:
    client = client_of(FailingTable(error))
    reply = await client.run("ps")
    assert not reply.ok
    failure = client.failure("cannot see", reply)
    assert (type(failure), str(failure)) == (kind, f"cannot see: {error}")
    with pytest.raises(kind, match="cannot see"):
        await client.run_checked("cannot see", "ps")


async def test_a_container_whose_start_is_undone_closes_its_pidfd() -> None:
    process_table = FailingTable(ResourceExhausted("no process left"))
    launch = Launch(ServiceSpec("x", Path("/"), ("run",)), "0badcafe", "x")
    container = Container(client_of(process_table), launch, "x", {}, InstancePorts(), {})
    held = os.pidfd_open(os.getpid())
    container.pid, container._pidfd = 4711, held
    process_table.external[4711] = "0badcafe"
    await container.undo_start()
    assert process_table.external == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)


class Removing(EngineClient):
    """An engine that takes a second for everything."""

    async def run(self, *_: object, **__: object) -> EngineReply:
        await trio.sleep(1.0)
        reply = EngineReply()
        reply.exit = Exit(0)
        return reply


async def test_a_container_that_two_tasks_remove_at_the_same_time_is_no_error(autojump_clock: object) -> None:
    """The stop of everything runs into its time-out while the end of an instance still waits for the engine."""
    client = Removing(FailingTable(ResourceExhausted("")), Engine("docker", "/bin/docker", "mark"), Path("/"))  # type: ignore[arg-type]
    runtime = ContainerRuntime.__new__(ContainerRuntime)
    runtime._unremoved = {"x": False}
    launch = Launch(ServiceSpec("x", Path("/"), ("run",)), "0badcafe", "x")
    container = Container(client, launch, "x", {}, InstancePorts(), runtime._unremoved)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(container._remove)
        await trio.sleep(0.1)
        nursery.start_soon(runtime._remove, client, "x")
    assert runtime._unremoved == {}


class FakeEngine(EngineClient):
    """An engine that answers, or hangs."""

    hangs = False
    probes = 0

    async def run(self, *arguments: str, timeout: float = COMMAND_TIMEOUT_S, **_: object) -> EngineReply:
        self.probes += 1
        reply = EngineReply()
        await trio.sleep(timeout if self.hangs else 0.1)
        reply.exit = None if self.hangs else Exit(0)
        return reply


@pytest.fixture
def fake_engine() -> tuple[FakeEngine, list[str]]:
    events: list[str] = []
    client = FakeEngine(None, Engine("docker", "/bin/docker", "mark"), Path("/"), lambda text, _: events.append(text))  # type: ignore[arg-type]
    return client, events


async def test_an_engine_that_answers_is_waited_for(
    fake_engine: tuple[FakeEngine, list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    client, events = fake_engine
    began = trio.current_time()
    await client.wait_while_responsive(10.0, trio.sleep_forever)
    assert trio.current_time() - began == pytest.approx(10.0)
    assert (client.is_unresponsive, events) == (False, [])


async def test_an_engine_that_hangs_costs_one_timeout_for_all_questions(
    fake_engine: tuple[FakeEngine, list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    client, events = fake_engine
    client.hangs = True
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(client.wait_while_responsive, 10.0, trio.sleep_forever)
    assert trio.current_time() - began == pytest.approx(DOUBT_DELAY_S + PROBE_TIMEOUT_S)
    assert (client.probes, events) == (1, ["docker does not answer — nothing waits for it"])


async def test_while_the_engine_is_watched_questions_to_an_unresponsive_one_end_at_once(
    fake_engine: tuple[FakeEngine, list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    client, events = fake_engine
    client.hangs = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.watch)
        await trio.sleep(PROBE_TIMEOUT_S + 0.1)
        began = trio.current_time()
        for _ in range(20):
            await client.wait_while_responsive(10.0, trio.sleep_forever)
        assert trio.current_time() == began
        client.hangs = False
        await client.wait_responsive()
        assert events[1:] == ["docker answers again"]
        nursery.cancel_scope.cancel()
