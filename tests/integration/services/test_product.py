"""The product service over HTTP, with a real Redis under it: nothing oversold, nothing done twice, a Redis that goes away."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from services import product, store
from services.store import Store
from services.web import Server
from tests.eventually import soon
from tests.integration.sdk.test_clients import FakeRegistry, serving
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.shop import Service, open_service

APPLE = {"id": "aaa", "name": "apple", "quantity": 10}
BANANA = {"id": "bbb", "name": "banana", "quantity": 7}


@asynccontextmanager
async def open_product(url: str) -> AsyncIterator[Service]:
    routes, _tasks = product.build(Store(url))
    async with open_service(routes) as shop:
        yield shop


@pytest.fixture
async def shop(redis_server: RedisServer) -> AsyncIterator[Service]:
    async with open_product(redis_server.url) as shop:
        yield shop


async def quantity(shop: Service, id: str) -> int:
    return int((await shop.ask("GET", f"/product/{id}")).body["quantity"])


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\nIdempotency-Key: two",
        "HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\nX: y\r\nidempotency-key: one",
        "HTTP/1.0\r\nTransfer-Encoding: chunked",
        "HTTP/1.0\r\nIdempotency-Key: one\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
    ],
)
async def test_an_ambiguous_request_takes_nothing(shop: Service, head: str) -> None:
    client = await shop.client()
    body = "0\r\n\r\n" if "chunked" in head else ""
    await client.send(f"PUT /product/aaa {head}\r\n\r\n{body}")
    assert (await client.answer()).status == 400
    assert await quantity(shop, "aaa") == 10


async def test_products_are_shown_taken_set_and_created(shop: Service) -> None:
    assert (await shop.ask("GET", "/product/aaa")).body == APPLE
    assert (await shop.ask("HEAD", "/product/aaa")).status == 200
    taken = await shop.ask("PUT", "/product/aaa")
    assert (taken.status, taken.body) == (200, {**APPLE, "quantity": 9})
    assert (await shop.ask("PUT", "/product/aaa", '{"quantity":1}')).body == {**APPLE, "quantity": 1}
    assert (await shop.ask("PUT", "/product/aaa", '{"name":"pear"}')).body == {**APPLE, "name": "pear", "quantity": 1}
    assert (await shop.ask("PUT", "/product/aaa")).status == 200
    empty = await shop.ask("PUT", "/product/aaa")
    assert (empty.status, empty.body) == (409, {"error": "aaa is out of stock"})
    plum = {"id": "ccc", "name": "plum ü", "quantity": 2}
    assert (await shop.ask("PUT", "/product/ccc", '{"name":"plum ü"}')).status == 400
    assert (await shop.ask("PUT", "/product/ccc", '{"quantity":2}')).status == 400
    created = await shop.ask("PUT", "/product/ccc", '{"name":"plum ü","quantity":2}')
    assert (created.status, created.body) == (201, plum)
    assert (await shop.ask("GET", "/products")).body == [{**APPLE, "name": "pear", "quantity": 0}, BANANA, plum]


async def test_a_product_that_does_not_exist_is_404_and_a_wrong_request_400(shop: Service) -> None:
    for path in ("/product/zzz", "/product/a%20b", "/product/%7B", "/product/%ff", "/product/" + "x" * 100):
        for method in ("GET", "PUT"):
            answer = await shop.ask(method, path)
            assert (answer.status, set(answer.body)) == (404, {"error"})
    assert (await shop.ask("PUT", "/product/a%20b", '{"name":"x","quantity":1}')).status == 400
    assert (await shop.ask("PUT", "/product/aaa", '{"quantity":-1}')).status == 400
    assert (await shop.ask("PUT", "/product/aaa", "{}")).status == 400
    assert (await shop.ask("PUT", "/product/aaa", key="a b")).status == 400
    wrong = await shop.ask("DELETE", "/product/aaa")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, PUT")


async def test_the_same_key_changes_once_and_gets_the_first_reply(redis_server: RedisServer, shop: Service) -> None:
    first = await shop.ask("PUT", "/product/aaa", key="k")
    again = await shop.ask("PUT", "/product/aaa", key="k")
    assert (again.status, again.body) == (first.status, first.body)
    assert (await shop.ask("PUT", "/product/bbb", key="k")).status == 422
    assert (await shop.ask("PUT", "/product/aaa", '{"quantity":3}', key="k")).status == 422
    assert await quantity(shop, "aaa") == 9
    assert 0 < redis_server.client().ttl("{shop}:reply:k") <= 600
    created = await shop.ask("PUT", "/product/ccc", '{"name":"plum","quantity":2}', key="new")
    again = await shop.ask("PUT", "/product/ccc", '{"name":"plum","quantity":2}', key="new")
    assert (again.status, again.body) == (201, created.body)


async def test_parallel_takes_by_two_replicas_sell_exactly_what_there_is(redis_server: RedisServer) -> None:
    async with open_product(redis_server.url) as one, open_product(redis_server.url) as two:
        await one.ask("PUT", "/product/c", '{"name":"cherry","quantity":57}')
        statuses: list[int] = []

        async def take(shop: Service) -> None:
            statuses.append((await shop.ask("PUT", "/product/c")).status)

        async with trio.open_nursery() as nursery:
            for n in range(120):
                nursery.start_soon(take, one if n % 2 else two)
        assert (statuses.count(200), statuses.count(409)) == (57, 63)
        assert await quantity(one, "c") == 0


async def test_the_first_stock_is_written_where_it_is_absent_only(redis_server: RedisServer) -> None:
    async with open_product(redis_server.url) as shop:
        assert (await shop.ask("GET", "/products")).body == [APPLE, BANANA]
        await shop.ask("PUT", "/product/aaa")
    async with open_product(redis_server.url) as shop:
        assert await quantity(shop, "aaa") == 9
        redis_server.client().flushall()
        assert (await shop.ask("PUT", "/product/aaa")).body == {**APPLE, "quantity": 9}
        redis_server.client().flushall()
        assert (await shop.ask("GET", "/products")).body == [APPLE, BANANA]
        redis_server.client().delete("{shop}:product:bbb")
        assert (await shop.ask("GET", "/product/bbb")).body == BANANA


async def test_there_is_room_for_ten_thousand_products(redis_server: RedisServer, shop: Service) -> None:
    await shop.ask("GET", "/products")
    redis_server.client().sadd("{shop}:products", *map(str, range(10_000)))
    assert (await shop.ask("PUT", "/product/more", '{"name":"x","quantity":1}')).status == 507
    assert (await shop.ask("GET", "/products")).body == [APPLE, BANANA]


async def test_a_redis_that_was_killed_is_503_and_used_again_when_it_is_back(
    redis_server: RedisServer, shop: Service
) -> None:
    assert (await shop.ask("PUT", "/product/aaa", key="before")).status == 200
    redis_server.kill()
    for method in ("PUT", "GET"):
        answer = await shop.ask(method, "/product/aaa", key="during")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "nothing was done" in answer.body["error"]
    redis_server.start()
    assert (await shop.ask("PUT", "/product/aaa", key="during")).body == {**APPLE, "quantity": 8}
    assert (await shop.ask("PUT", "/product/aaa", key="before")).body == {**APPLE, "quantity": 9}, "as remembered"


async def test_a_redis_that_was_restarted_between_two_requests_is_no_error(
    redis_server: RedisServer, shop: Service
) -> None:
    assert (await shop.ask("PUT", "/product/aaa")).status == 200
    redis_server.kill()
    redis_server.start()
    assert (await shop.ask("PUT", "/product/aaa")).body == {**APPLE, "quantity": 8}


async def test_a_paused_redis_is_504_and_the_same_key_finds_out(
    redis_server: RedisServer, shop: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "REPLY_TIMEOUT_S", 0.5)
    await shop.ask("GET", "/product/aaa")
    redis_server.pause()
    answer = await shop.ask("PUT", "/product/aaa", key="k")
    assert (answer.status, "retry-after" in answer.headers) == (504, False)
    assert "Idempotency-Key" in answer.body["error"]
    redis_server.resume()
    assert (await shop.ask("PUT", "/product/aaa", key="k")).body == {**APPLE, "quantity": 9}


async def test_a_request_that_redis_refuses_is_503(redis_server: RedisServer, shop: Service) -> None:
    redis_server.client().set("{shop}:product:odd", "not a hash")
    answer = await shop.ask("GET", "/product/odd")
    assert answer.status == 503
    assert "WRONGTYPE" in answer.body["error"]
    assert (await shop.ask("GET", "/product/aaa")).body == APPLE


@pytest.mark.parametrize("url", ["unix://{}/nothing.sock", "redis+sentinel://127.0.0.1:1/main", "nonsense://x"])
async def test_a_redis_that_cannot_be_reached_is_503(url: str, tmp_path: Path) -> None:
    async with open_product(url.format(tmp_path)) as shop:
        assert (await shop.ask("GET", "/product/aaa")).status == 503


async def test_a_redis_is_found_through_a_sentinel(tmp_path: Path) -> None:
    for name in ("master", "sentinel"):
        (tmp_path / name).mkdir()
    with RedisServer(tmp_path / "master", port=free_port()) as master:
        settings = tmp_path / "sentinel" / "sentinel.conf"
        settings.write_text(f"sentinel monitor shop 127.0.0.1 {master.port} 1\n")
        with RedisServer(settings.parent, port=free_port(), mode=(str(settings), "--sentinel")) as sentinel:
            async with open_product(f"redis+sentinel://127.0.0.1:{sentinel.port}/shop/0") as shop:
                assert (await shop.ask("PUT", "/product/aaa")).body == {**APPLE, "quantity": 9}
            assert master.client().hget("{shop}:product:aaa", "quantity") == "9"


async def test_a_process_registers_a_reachable_address_and_reports_the_state_of_redis(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, trio.open_nursery() as nursery:
        env = {**os.environ, "MINIKUBE_REGISTRY": address, "REDIS_URL": redis_server.url, "PORT": "0"}
        command = partial(
            trio.run_process, [sys.executable, "-m", "services.product"], env={**env, "ADVERTISE_HOST": "127.0.0.9"}
        )
        process = await nursery.start(command)
        (found,) = await soon(lambda: list(registry.instances.values()))
        assert (found["Name"], found["Addr"]["IP"]) == ("product", "127.0.0.9")
        service = Service(Server({}), found["Addr"]["Port"])
        assert (await service.ask("GET", "/health")).body["status"] == "ok"
        await service.ask("GET", "/products")
        assert (await service.ask("GET", "/health")).body["store"] == "ok"
        redis_server.kill()
        await service.ask("GET", "/products")
        health = await service.ask("GET", "/health")
        assert (health.status, health.body["store"].startswith("Redis cannot be reached")) == (200, True)
        process.terminate()
        await soon(lambda: not registry.instances)


async def test_a_client_that_leaves_disturbs_no_other(shop: Service) -> None:
    async with trio.open_nursery() as nursery:
        for _n in range(30):
            nursery.start_soon(shop.ask, "GET", "/product/aaa")
        with trio.move_on_after(0):
            await shop.ask("GET", "/product/aaa")
    assert (await shop.ask("GET", "/product/aaa")).body == APPLE
