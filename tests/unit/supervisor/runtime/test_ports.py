"""Instances that start at the same time get different ports, whatever runs them."""

from pathlib import Path
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace

from minikube.linux import ports
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.interface import Launch, Runtime
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.runtime import ProcessRuntime

SPEC = ServiceSpec("x", Path("/"), ("run",), host="127.0.0.1")


class PortOnlyProcesses(ProcessRuntime):
    async def _start(self, launch: Launch, port: int) -> Any:
        await trio.lowlevel.checkpoint()
        return port


class PortOnlyContainers(ContainerRuntime):
    def _open_client(self) -> Any:
        return None

    async def _start(self, client: object, launch: Launch, port: int) -> Any:
        await trio.lowlevel.checkpoint()
        return port


def runtimes() -> tuple[Runtime, Runtime]:
    allocator, unused = PortAllocator(), cast(Any, None)
    processes = PortOnlyProcesses(unused, unused, unused, allocator)
    return processes, PortOnlyContainers(unused, unused, unused, unused, unused, allocator, unused)


@pytest.mark.parametrize("kinds", [(0,), (1,), (0, 1)])
async def test_instances_that_start_at_the_same_time_get_different_ports(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[int, ...]
) -> None:
    """Also where the first have started before the last one chooses."""
    monkeypatch.setattr(ports, "is_free", lambda *_: True)
    spec, both = replace(SPEC, auto_port=True, port_range=(26000, 26019)), runtimes()
    ports_in_use: dict[int, int] = {}

    async def start(number: int) -> None:
        launch = Launch(spec, str(number), str(number), used_ports=lambda: frozenset(ports_in_use.values()))
        # `used_ports` includes the port as soon as `start` returns, as in the supervisor.
        ports_in_use[number] = cast(int, await both[kinds[number % len(kinds)]].start(launch))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(start, number)
    assert sorted(ports_in_use.values()) == list(range(26000, 26020))
