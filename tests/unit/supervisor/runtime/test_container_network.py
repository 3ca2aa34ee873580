"""The description of a network is read from every engine; relays listen on the network's gateway."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from minikube.manifest import HostPort, parse_host_port
from minikube.supervisor.runtime.container.network import ContainerNetwork, ProjectNetwork, read_container_network

DOCKER = [
    {
        "IPAM": {
            "Config": [
                {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
                {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"},
            ]
        }
    }
]
PODMAN = [{"subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}]}]


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (DOCKER, ContainerNetwork("net", "172.18.0.1", "172.18.0.0/16")),
        (PODMAN, ContainerNetwork("net", "10.89.0.1", "10.89.0.0/24")),
        ([{"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}], None),
        ([{"IPAM": {"Config": None}}], None),
        ([], None),
        ([{}], None),
    ],
)
def test_the_first_gateway_with_an_ipv4_address_is_taken(
    description: object, expected: ContainerNetwork | None
) -> None:
    assert read_container_network("net", json.dumps(description)) == expected


def test_an_error_message_in_place_of_json_is_no_network() -> None:
    assert read_container_network("net", "Error: no such network") is None


async def test_a_redis_on_ipv6_is_reached_through_a_relay_too(monkeypatch: pytest.MonkeyPatch) -> None:
    targets: dict[str, str] = {}

    async def relay(self: ProjectNetwork, network: ContainerNetwork, name: str, target: Callable[[], str]) -> int:
        targets[name] = target()
        return 7

    monkeypatch.setattr(ProjectNetwork, "_relay", relay)
    client: Any = SimpleNamespace(engine=SimpleNamespace(mark="m" * 12))
    env = {"MINIKUBE_REGISTRY": "127.0.0.1:5555", "REDIS_URL": "redis://me:pw@[::1]:6380/1"}
    async with trio.open_nursery() as nursery:
        network = ProjectNetwork(client, "shop", nursery)
        found = await network.replace_loopback(
            ContainerNetwork("net", "172.18.0.1", "172.18.0.0/16"), env, lambda: "127.0.0.1:5555"
        )
    assert found["REDIS_URL"] == "redis://me:pw@172.18.0.1:7/1"
    assert parse_host_port(targets["redis"]) == HostPort("::1", 6380)


async def test_a_network_that_was_created_again_has_relays_on_its_new_gateway() -> None:
    client: Any = SimpleNamespace(engine=SimpleNamespace(mark="m" * 12))
    env = {"MINIKUBE_REGISTRY": "127.0.0.1:5555", "REDIS_URL": "unix:///redis.sock"}
    async with trio.open_nursery() as nursery:
        network = ProjectNetwork(client, "shop", nursery)
        for gateway in ("127.0.0.9", "127.0.0.10"):
            existing = ContainerNetwork("net", gateway, "127.0.0.0/8")
            found = await network.replace_loopback(existing, env, lambda: "127.0.0.1:5555")
            assert await network.replace_loopback(existing, env, lambda: "127.0.0.1:5555") == found
            host, _, port = found["MINIKUBE_REGISTRY"].rpartition(":")
            assert host == gateway
            with trio.fail_after(30):
                await (await trio.open_tcp_stream(host, int(port))).aclose()
        nursery.cancel_scope.cancel()
