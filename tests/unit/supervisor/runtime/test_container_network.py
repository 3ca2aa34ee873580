"""The project's network: made, found again, refused; relays listen on its gateway, where this machine has it."""

import json
from typing import Any, cast

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.defaults import CONTAINER_LABEL
from minikube.engine.command import Engine
from minikube.engine.networks import ContainerNetwork
from minikube.errors import StartError
from minikube.manifest import HostPort, parse_host_port
from minikube.supervisor.runtime.container.client import EngineReply
from minikube.supervisor.runtime.container.host_relays import HostServices
from minikube.supervisor.runtime.container.network import ProjectNetwork
from minikube.supervisor.runtime.container.relay import Target
from minikube.supervisor.runtime.exit_status import Exit

MARK = "m" * 12
ENV = {"MINIKUBE_REGISTRY": "127.0.0.1:5555", "REDIS_URL": "unix:///redis.sock"}
ROOT = json.dumps({"SecurityOptions": []})
ROOTLESS = json.dumps({"SecurityOptions": ["name=rootless"]})


class Client:
    """An engine that answers every question as `replies` says, by the first words of the question."""

    def __init__(self, replies: dict[str, str]) -> None:
        self.engine = Engine("docker", "/bin/docker", MARK)
        self.replies = replies
        self.calls: list[str] = []

    async def run(self, *words: str, **_: object) -> EngineReply:
        await trio.lowlevel.checkpoint()
        self.calls.append(" ".join(words[:2]))
        reply = EngineReply()
        text = self.replies.get(" ".join(words[:2]), "")
        reply.exit = Exit(0 if text else 1)
        reply.stdout += text.encode()
        return reply

    async def run_checked(self, what: str, *words: str) -> str:
        reply = await self.run(*words)
        if not reply.ok:
            raise StartError(f"{what}: no more addresses")
        return reply.text


def network_of(client: Client, nursery: trio.Nursery, events: list[str] | None = None) -> ProjectNetwork:
    services = HostServices(frozenset, frozenset, StateStore("shop"))
    report = (events if events is not None else []).append
    return ProjectNetwork(cast(Any, client), "shop", nursery, services, lambda text, level: report(text))


def description(gateway: str = "127.0.0.9", mark: str = MARK) -> str:
    labels = {f"{CONTAINER_LABEL}.mark": mark}
    return json.dumps([{"subnets": [{"subnet": "127.0.0.0/8", "gateway": gateway}], "labels": labels}])


async def test_a_redis_on_ipv6_is_reached_through_a_relay_too(monkeypatch: pytest.MonkeyPatch) -> None:
    targets: dict[str, str] = {}

    async def relay(self: ProjectNetwork, network: ContainerNetwork, name: str, port: int, target: Target) -> int:
        targets[name] = target.address()
        return 7

    monkeypatch.setattr(ProjectNetwork, "_relay", relay)
    env = {"MINIKUBE_REGISTRY": "127.0.0.1:5555", "REDIS_URL": "redis://me:pw@[::1]:6380/1"}
    async with trio.open_nursery() as nursery:
        found = await network_of(Client({}), nursery).replace_loopback(
            ContainerNetwork("net", "172.18.0.1", "172.18.0.0/16"), env, lambda: "127.0.0.1:5555"
        )
    assert found["REDIS_URL"] == "redis://me:pw@172.18.0.1:7/1"
    assert parse_host_port(targets["redis"]) == HostPort("::1", 6380)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
async def test_a_registry_that_listens_on_all_addresses_is_reached_at_the_gateway_itself(host: str) -> None:
    async with trio.open_nursery() as nursery:
        existing = ContainerNetwork("net", "172.18.0.1", "172.18.0.0/16")
        env = {**ENV, "MINIKUBE_REGISTRY": f"{host}:5555"}
        found = await network_of(Client({}), nursery).replace_loopback(existing, env, lambda: "")
    assert found["MINIKUBE_REGISTRY"] == "172.18.0.1:5555"


async def test_a_network_that_was_created_again_has_relays_on_its_new_gateway() -> None:
    client = Client({"network inspect": description("127.0.0.9"), "info --format": ROOT})
    async with trio.open_nursery() as nursery:
        network = network_of(client, nursery)
        for gateway in ("127.0.0.9", "127.0.0.10"):
            client.replies["network inspect"] = description(gateway)
            existing = await network.ensure()
            assert existing.gateway == gateway
            found = await network.replace_loopback(existing, ENV, lambda: "127.0.0.1:5555")
            assert await network.replace_loopback(existing, ENV, lambda: "127.0.0.1:5555") == found
            host, _, port = found["MINIKUBE_REGISTRY"].rpartition(":")
            assert host == gateway
            with trio.fail_after(30):
                await (await trio.open_tcp_stream(host, int(port))).aclose()
            network.forget()
        nursery.cancel_scope.cancel()


async def test_the_engine_is_asked_once_for_all_containers() -> None:
    client = Client({"network inspect": description(), "info --format": ROOT})
    async with trio.open_nursery() as nursery:
        network = network_of(client, nursery)
        assert await network.ensure() == await network.ensure()
        assert client.calls == ["network inspect", "info --format"]
        network.forget()
        await network.ensure()
        assert client.calls == ["network inspect", "info --format", "network inspect"]
        nursery.cancel_scope.cancel()


async def test_an_engine_that_does_not_answer_costs_one_time_out_for_all_that_wait() -> None:
    errors: list[str] = []
    client = Client({})

    async def ensure() -> None:
        with pytest.raises(StartError) as caught:
            await network.ensure()
        errors.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        network = network_of(client, nursery)
        async with trio.open_nursery() as containers:
            for _ in range(5):
                containers.start_soon(ensure)
    assert len(errors) == 5
    assert client.calls == ["network inspect", "network create"]


async def test_an_engine_without_root_publishes_only_and_one_event_says_so() -> None:
    events: list[str] = []
    client = Client({"network inspect": description(), "info --format": ROOTLESS})
    async with trio.open_nursery() as nursery:
        network = network_of(client, nursery, events)
        found = await network.ensure()
        assert not found.is_reachable
        assert await network.replace_loopback(found, ENV, lambda: "127.0.0.1:5555") == ENV, "no relays"
        network.forget()
        await network.ensure()
        nursery.cancel_scope.cancel()
    (event,) = events
    assert 'set network = "host"' in event


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"network inspect": description(mark="another")}, "a network that this project did not create is called"),
        (
            {"network inspect": json.dumps([{"labels": {f"{CONTAINER_LABEL}.mark": MARK}}])},
            "has no IPv4 gateway for it — or set",
        ),
        ({}, 'no more addresses — remove networks that nothing uses, or set network = "host"'),
    ],
)
async def test_a_network_that_cannot_be_used_is_a_message_with_the_way_out(replies: dict[str, str], words: str) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(StartError, match=words):
            await network_of(Client(replies), nursery).ensure()
