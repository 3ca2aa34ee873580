"""Instances that start at the same time get different ports, whatever runs them."""

from pathlib import Path
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace

from minikube.manifest import PortSpec, ServiceSpec
from minikube.project import instance_ports
from minikube.project.instance_ports import InstancePorts, UsedPorts
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.interface import Launch, Runtime
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.runtime import ProcessRuntime

SPEC = ServiceSpec("x", Path("/"), ("run",), host="127.0.0.1")


class PortOnlyProcesses(ProcessRuntime):
    async def _start(self, launch: Launch, ports: InstancePorts) -> Any:
        await trio.lowlevel.checkpoint()
        return ports


class PortOnlyContainers(ContainerRuntime):
    def _open_client(self) -> Any:
        return None

    async def _start(self, client: object, launch: Launch, ports: InstancePorts) -> Any:
        await trio.lowlevel.checkpoint()
        return ports


def runtimes() -> tuple[Runtime, Runtime]:
    allocator, unused = PortAllocator(), cast(Any, None)
    processes = PortOnlyProcesses(unused, unused, unused, allocator)
    return processes, PortOnlyContainers(unused, unused, unused, unused, unused, allocator, unused, unused)


@pytest.mark.parametrize("kinds", [(0,), (1,), (0, 1)])
async def test_instances_that_start_at_the_same_time_get_different_ports(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[int, ...]
) -> None:
    """Also where the first have started before the last one chooses."""
    monkeypatch.setattr(instance_ports, "is_free", lambda *_: True)
    further = {"debug": PortSpec(port_range=(26000, 26039)), "dns": PortSpec(port_range=(26000, 26019), protocol="udp")}
    spec, both = replace(SPEC, auto_port=True, port_range=(26000, 26039), ports=further), runtimes()
    started: dict[int, InstancePorts] = {}

    def used_ports() -> UsedPorts:
        return frozenset(port for ports in started.values() for port in ports.used(spec))

    async def start(number: int) -> None:
        launch = Launch(spec, str(number), str(number), used_ports=used_ports)
        # `used_ports` includes the ports as soon as `start` returns, as in the supervisor.
        started[number] = cast(InstancePorts, await both[kinds[number % len(kinds)]].start(launch))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(start, number)
    found = list(started.values())
    assert sorted([ports.main for ports in found] + [ports.named["debug"] for ports in found]) == [*range(26000, 26040)]
    assert sorted(ports.named["dns"] for ports in found) == [*range(26000, 26020)]
