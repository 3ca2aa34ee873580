"""An entry that was replaced is put right by its owner, short leases hold, and wildcard addresses become real ones."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import trio

import minikube
from minikube import aio, blocking
from tests.eventually import eventually
from tests.integration.registry.registry_process import Registry
from tests.integration.sdk.test_clients import Background, FakeRegistry, background
from tests.redis_server import RedisServer

Stay = Callable[..., None]


def trio_stays(stop: threading.Event, *args: Any, **options: Any) -> None:
    async def main() -> None:
        async with minikube.registered(*args, **options):
            while not stop.is_set():
                await trio.sleep(0.01)

    trio.run(main)


def asyncio_stays(stop: threading.Event, *args: Any, **options: Any) -> None:
    async def main() -> None:
        async with aio.registered(*args, **options):
            while not stop.is_set():
                await asyncio.sleep(0.01)

    asyncio.run(main())


def blocking_stays(stop: threading.Event, *args: Any, **options: Any) -> None:
    with blocking.registered(*args, **options):
        stop.wait()


every_client = pytest.mark.parametrize("stays", [blocking_stays, trio_stays, asyncio_stays])


@contextmanager
def staying(stays: Stay, *args: Any, **options: Any) -> Iterator[None]:
    """A service that is registered by a thread of its own, for the length of the block."""
    stop = threading.Event()
    thread = threading.Thread(target=partial(stays, stop, *args, **options))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def renewed(running: Background, times: int) -> None:
    """Wait for so many renewals more."""
    count = [method for method, _ in running.registry.asked].count("Discovery.Renew") + times
    eventually(lambda: [method for method, _ in running.registry.asked].count("Discovery.Renew") >= count)


def only(running: Background) -> dict[str, Any]:
    (instance,) = running.registry.instances.values()
    return instance


@every_client
@pytest.mark.parametrize(
    "damage",
    [
        {"Addr": {"IP": "127.0.0.1", "Port": 6666}},
        {"HealthCheck": "http://127.0.0.1:80/nope"},
        {"Name": "other"},
        {"Tags": ["evil"]},
    ],
)
def test_an_entry_that_was_replaced_is_put_right(stays: Stay, damage: dict[str, Any]) -> None:
    with background() as running, staying(stays, "web", 80, address=running.address, lease=0.3):
        renewed(running, 1)
        right = {key: value for key, value in only(running).items() if key != "Incarnation"}
        running.do(only(running).update, {**damage, "Incarnation": 1_000})
        eventually(lambda: {**right, "Incarnation": only(running)["Incarnation"]} == only(running))
        renewed(running, 3)
        assert [method for method, _ in running.registry.asked].count("Discovery.Register") == 2


@every_client
def test_an_entry_that_was_removed_is_put_right(stays: Stay) -> None:
    with background() as running, staying(stays, "web", 80, address=running.address, lease=0.3):
        renewed(running, 1)
        running.do(running.registry.instances.clear)
        eventually(lambda: running.registry.names() == ["web"])


@every_client
def test_workers_with_the_same_registration_come_to_rest(stays: Stay) -> None:
    """Each worker of a web server registers the same id: none replaces the others' entry for ever."""
    with background() as running:
        options = {"address": running.address, "lease": 0.3, "instance_id": "0badcafe"}
        with staying(stays, "web", 80, **options), staying(stays, "web", 80, **options):
            renewed(running, 8)
            registrations = [method for method, _ in running.registry.asked].count("Discovery.Register")
            renewed(running, 8)
            assert [method for method, _ in running.registry.asked].count("Discovery.Register") == registrations
            assert registrations <= 3
        assert running.registry.names() == []


@every_client
def test_an_older_registry_is_renewed_at_without_an_incarnation(stays: Stay, caplog: pytest.LogCaptureFixture) -> None:
    registry = FakeRegistry()
    registry.takes_incarnation = False
    with Background(registry) as running, staying(stays, "web", 80, address=running.address, lease=0.3):
        renewed(running, 4)
        params = [params for method, params in registry.asked if method == "Discovery.Renew"]
        assert [len(given) for given in params[:4]] == [4, 1, 1, 1], "it is tried once"
        assert caplog.records == []


@every_client
def test_a_lease_in_a_manifests_words_holds(stays: Stay, redis_server: RedisServer) -> None:
    registry = Registry(redis_server.url)
    try:
        address = f"127.0.0.1:{registry.start().port}"
        client = registry.ready()
        with staying(stays, "web", 80, address=address, health="ttl", lease="1s"):
            eventually(lambda: client.get("web") == 80)
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                assert client.get("web") == 80, "its lease was over"
                time.sleep(0.05)
        assert client.get("web") == 0
    finally:
        registry.close()


@every_client
@pytest.mark.parametrize(("host", "known_as"), [("::", "::1"), ("0.0.0.0", "127.0.0.1"), ("[::]", "::1")])
def test_a_wildcard_host_is_registered_in_its_own_family(stays: Stay, host: str, known_as: str) -> None:
    with background() as running, staying(stays, "web", 80, address=running.address, host=host):
        eventually(lambda: running.registry.names() == ["web"])
        assert only(running)["Addr"]["IP"] == known_as
        shown = f"[{known_as}]" if ":" in known_as else known_as
        assert only(running)["HealthCheck"] == f"http://{shown}:80/health"


def test_asyncio_a_registry_serves_a_later_event_loop_and_refuses_one_beside_its_own() -> None:
    with background() as running:
        loop = asyncio.new_event_loop()
        opened = aio.open_registry(running.address)
        registry = loop.run_until_complete(opened.__aenter__())
        loop.run_until_complete(registry.status())

        async def ask() -> None:
            assert (await registry.status())["Version"] == "1"

        with pytest.raises(minikube.UsageError, match="another event loop that is still open"):
            asyncio.run(ask())
        loop.run_until_complete(registry.close())
        loop.close()

        async def later() -> None:
            await ask()
            await registry.close()

        asyncio.run(later())
