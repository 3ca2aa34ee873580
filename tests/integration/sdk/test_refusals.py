"""What the registry refuses once and for all ends the block of `registered()`."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio

import minikube
from minikube import aio, blocking
from tests.integration.registry.registry_process import Registry


def trio_serves(seconds: float, *args: Any, **options: Any) -> None:
    async def main() -> None:
        async with minikube.registered(*args, **options):
            await trio.sleep(seconds)

    trio.run(main)


def asyncio_serves(seconds: float, *args: Any, **options: Any) -> None:
    async def main() -> None:
        async with aio.registered(*args, **options):
            await asyncio.sleep(seconds)

    asyncio.run(main())


def blocking_serves(seconds: float, *args: Any, **options: Any) -> None:
    with blocking.registered(*args, **options):
        time.sleep(seconds)


every_server = pytest.mark.parametrize("serves", [blocking_serves, trio_serves, asyncio_serves])
NEVER_S = 60.0
"""How long a block would last that is not ended."""


@every_server
def test_a_name_that_is_no_dns_label_is_refused_before_anything_is_sent(serves: Callable[..., None]) -> None:
    with pytest.raises(minikube.UsageError, match=r"registered\('My_Web'\): expected a DNS label"):
        serves(NEVER_S, "My_Web", 8080, address="127.0.0.1:1")


@every_server
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"health": "http://192.0.2.1/health"}, "points at 192.0.2.1, but 127.0.0.1 is being registered"),
        ({"instance_id": "theirs"}, r"theirs\) belongs to token other"),
        ({"token": "0" * 64}, "the token is wrong"),
    ],
    ids=["a wrong parameter", "another owner's entry", "a wrong token"],
)
def test_a_first_registration_that_is_refused_ends_the_block_with_the_reason(
    serves: Callable[..., None], options: dict[str, Any], reason: str, registry: Registry
) -> None:
    client = registry.ready()
    token = client.call("CreateToken", ["register web"], "other")["Token"]
    with blocking.open_registry(f"127.0.0.1:{registry.port}", token=token) as other:
        other.register(minikube.Registration("web", "127.0.0.1:9999", "ttl:", "theirs"))
    began = time.monotonic()
    with pytest.raises(minikube.RemoteError, match=reason):
        serves(NEVER_S, "web", 8080, address=f"127.0.0.1:{registry.port}", **{"health": "ttl", **options})
    assert time.monotonic() - began < NEVER_S / 2
    assert [entry["Uuid"] for entry in client.call("Instances", "web")] == ["theirs"]


async def test_a_program_that_is_cancelled_while_it_is_refused_stays_cancelled(registry: Registry) -> None:
    """On asyncio the refusal does not replace the cancellation of another task's."""

    async def main() -> None:
        async def serve() -> None:
            body = asyncio.current_task()
            assert body is not None
            async with aio.registered(
                "web", 8080, address=f"127.0.0.1:{registry.port}", health="http://192.0.2.1/"
            ) as keeper:
                while not keeper.refusal:
                    await asyncio.sleep(0)
                body.cancel()
                await asyncio.sleep(NEVER_S)

        task = asyncio.create_task(serve())
        with pytest.raises(asyncio.CancelledError):
            await task

    await trio.to_thread.run_sync(asyncio.run, main())
