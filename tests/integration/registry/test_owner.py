"""The owner of an entry is the truth: its next renewal puts right what another client replaced or removed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from minikube.model import Address, Registration
from minikube.sdk.trio import open_registry
from minikube.supervisor.readiness.registry_sync import RegistrySync
from tests.integration.registry.registry_process import Client, Registry, RpcFailed, Service, services

ID = "0badcafe"


@pytest.fixture
def client(registry: Registry) -> Client:
    return registry.ready()


def entry(client: Client, id_: str = ID) -> dict[str, Any]:
    """Return the registry's entry of an id; empty if there is none."""
    return next((one for one in client.call("Instances") if one["Uuid"] == id_), {})


@asynccontextmanager
async def owner(registry: Registry, texts: list[str]) -> AsyncIterator[RegistrySync]:
    """A supervisor's part that keeps entries in the registry."""
    async with open_registry(f"127.0.0.1:{registry.port}") as client, trio.open_nursery() as nursery:
        sync = RegistrySync(client, nursery, lambda *_: None, texts.append, on_replaced=texts.append)
        nursery.start_soon(sync.run)
        yield sync
        nursery.cancel_scope.cancel()


async def wait(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.02)


async def test_what_another_client_does_to_the_supervisors_entry_is_put_right(
    registry: Registry, client: Client, service: Service
) -> None:
    texts: list[str] = []
    own = Registration(
        "product", Address("127.0.0.1", service.port), f"http://127.0.0.1:{service.port}/health", ID, interval=0.2
    )

    def is_right() -> bool:
        found = entry(client)
        where = (found.get("Name"), found.get("HealthCheck"), found.get("State"))
        return where == ("product", own.health_check, "passing") and client.get("product") == service.port

    async with owner(registry, texts) as sync:
        sync.register(ID, own)
        await wait(is_right)
        thief = {"Name": "product", "Addr": "127.0.0.1:6666", "HealthCheck": "ttl:", "Lease": 86400}
        client.call("Register", {**thief, "Uuid": ID})
        await wait(is_right)
        assert client.call("Instances", "product") == [entry(client)], "nothing of the other client is left"
        assert f"{ID} with product at 127.0.0.1:6666, check ttl:" in texts[0]
        assert client.call("Deregister", ID) is True
        await wait(is_right)
        # Another entry moves to the address: the registry removes the owner's for it.
        client.call("Register", {**thief, "Uuid": "evil"})
        client.call("Register", {**thief, "Uuid": "evil", "Addr": f"127.0.0.1:{service.port}"})
        await wait(is_right)
        assert entry(client, "evil") == {}


async def test_an_entry_with_a_worse_check_is_put_right(registry: Registry, client: Client, service: Service) -> None:
    """Without an id: a registration of the same name and address takes the owner's entry."""
    check = f"http://127.0.0.1:{service.port}/health"
    own = Registration("product", Address("127.0.0.1", service.port), check, ID, interval=0.2)
    async with owner(registry, []) as sync:
        sync.register(ID, own)
        await wait(lambda: client.get("product") == service.port)
        with services(1) as (wrong,):
            wrong.status = 404
            address = f"127.0.0.1:{service.port}"
            nope = f"http://127.0.0.1:{wrong.port}/nope"
            assert client.call("Register", {"Name": "product", "Addr": address, "HealthCheck": nope}) == ID
        await wait(lambda: entry(client)["HealthCheck"] == check and client.get("product") == service.port)


def test_a_renewal_of_an_incarnation_that_was_replaced_is_refused(client: Client) -> None:
    own = {"Name": "job", "Addr": "127.0.0.1:7100", "HealthCheck": "ttl:", "Lease": 60, "Uuid": ID}
    client.call("Register", own)
    incarnation = entry(client)["Incarnation"]
    assert client.call("Renew", ID, None, None, incarnation) is True
    assert client.call("Renew", ID, "passing", "fine", incarnation) is True
    client.call("Register", {**own, "Addr": "127.0.0.1:6666"})
    for params in ([ID, None, None, incarnation], [{"Uuid": ID, "State": "critical", "Incarnation": incarnation}]):
        with pytest.raises(RpcFailed, match=r"it was replaced: .* register again") as refused:
            client.call("Renew", *params)
        assert refused.value.code == -32004
    assert entry(client)["State"] == "passing", "the refused report of the former owner has no effect"
    assert client.call("Renew", ID) is True, "a renewal without an incarnation is of any"
    assert client.call("Deregister", ID, incarnation) is False
    assert client.call("Register", own) == ID
    assert client.call("Get", "job")["Port"] == 7100
