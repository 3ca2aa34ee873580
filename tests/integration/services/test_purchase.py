"""Purchases over HTTP against real product processes: exactly the stock is sold, whichever process dies meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import minikube
from minikube import Address, CheckState, Instance
from services import order, store
from services.order import OrderApi
from services.store import Store
from services.web import HttpError, Reply, Request, Routes
from tests.eventually import soon
from tests.integration.sdk.test_clients import FakeRegistry, serving
from tests.paths import ROOT
from tests.redis_server import RedisServer
from tests.shop import Answer, Service, open_service


def instance(port: int, state: CheckState = CheckState.PASSING) -> Instance:
    return Instance(f"{port:08x}", "product", Address("127.0.0.1", port), f"tcp://127.0.0.1:{port}", state)


class Registry:
    """What the order service asks the registry, answered by the test."""

    def __init__(self) -> None:
        self.found: list[Instance] = []
        self.error = ""

    async def instances(self, name: str) -> list[Instance]:
        assert name == "product"
        if self.error:
            raise minikube.Unavailable(self.error)
        return self.found

    def passes(self, *ports: int) -> None:
        self.found = [instance(port) for port in ports]


class Products:
    """Product processes on one Redis, as the supervisor would start them."""

    def __init__(self, url: str) -> None:
        self.env = {**os.environ, "REDIS_URL": url, "MINIKUBE_REGISTRY": "127.0.0.1:1", "HOST": "127.0.0.1"}
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, port: int = 0) -> int:
        process = self._spawn(port)
        assert process.stdout is not None
        line = await trio.to_thread.run_sync(process.stdout.readline)
        port = int(line.rpartition(b":")[2])
        self.running[port] = process
        return port

    def _spawn(self, port: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "services.product"],
            cwd=ROOT,
            env={**self.env, "PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, port: int, sig: int) -> None:
        self.running[port].send_signal(sig)

    def end(self, port: int) -> None:
        process = self.running.pop(port)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Shop:
    """Products, the registry with their addresses, and an order service of this process."""

    def __init__(self, products: Products, registry: Registry, service: Service) -> None:
        self.products, self.registry, self.service = products, registry, service

    async def start(self, count: int = 1) -> list[int]:
        """Start products, all of them passing."""
        ports = [await self.products.start() for _ in range(count)]
        self.registry.passes(*ports)
        return ports

    async def buy(self, id: str, key: str = "") -> Answer:
        return await self.service.ask("POST", f"/purchase/{id}", key=key)

    async def buy_statuses(self, id: str, count: int) -> list[int]:
        return [(await self.buy(id)).status for _ in range(count)]


@pytest.fixture
async def shop(redis_server: RedisServer) -> AsyncIterator[Shop]:
    registry: Any = Registry()
    api = OrderApi(Store(redis_server.url))
    api.registry = registry
    routes: Routes = {"/purchase/{}": {"GET": api.purchase, "POST": api.purchase}, "/orders": {"GET": api.latest}}
    async with open_service(routes) as service:
        shop = Shop(Products(redis_server.url), registry, service)
        yield shop
        for port in list(shop.products.running):
            shop.products.end(port)


def stock(redis_server: RedisServer, id: str, quantity: int) -> None:
    client = redis_server.client()
    client.hset(f"{{shop}}:product:{id}", mapping={"name": "thing", "quantity": quantity})


def left(redis_server: RedisServer, id: str) -> int:
    return int(redis_server.client().hget(f"{{shop}}:product:{id}", "quantity") or -1)


def key_of(answer: Answer) -> str:
    """The key that a 504 names."""
    return str(answer.body["error"].rpartition(" ")[2])


async def orders(shop: Shop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await shop.service.ask("GET", "/orders")).body
    return found


def ids(answers: Iterable[Answer]) -> set[str]:
    return {answer.body["order_id"] for answer in answers if answer.status == 200}


async def test_a_purchase_returns_the_product_and_the_remaining_stock(shop: Shop) -> None:
    await shop.start()
    answer = await shop.buy("aaa")
    sold = answer.body
    assert answer.status == 200
    assert sold == {"order_id": sold["order_id"], "product_id": "aaa", "product": "apple", "remaining": 9}
    (written,) = await orders(shop)
    assert written == {**sold, "time": written["time"]}
    assert (await shop.service.ask("GET", "/purchase/aaa")).body["remaining"] == 8
    missing = await shop.buy("nothing")
    assert (missing.status, missing.body) == (404, {"error": "there is no product nothing"})
    assert await shop.buy_statuses("aaa", 9) == [200] * 8 + [409]


async def test_the_same_key_is_the_same_order(redis_server: RedisServer, shop: Shop) -> None:
    await shop.start()
    first = await shop.buy("aaa", "mine")
    assert (await shop.buy("aaa", "mine")).body == first.body
    assert left(redis_server, "aaa") == 9
    assert len(await orders(shop)) == 1
    shop.registry.passes()
    assert (await shop.buy("aaa", "mine")).body == first.body, "also while no product passes"
    wrong = await shop.buy("aaa", "two words")
    assert wrong.status == 400


async def test_orders_are_the_latest_hundred_and_a_thousand_are_kept(redis_server: RedisServer, shop: Shop) -> None:
    await shop.start()
    client = redis_server.client()
    old = [f"{n:032x}" for n in range(1000)]
    client.hset("{shop}:order", mapping={id: f'{{"order_id":"{id}"}}' for id in old})
    client.lpush("{shop}:orders", *old)
    newest = (await shop.buy("aaa")).body["order_id"]
    assert [order["order_id"] for order in await orders(shop)] == [newest, *reversed(old[-99:])]
    assert (client.hlen("{shop}:order"), client.llen("{shop}:orders")) == (1000, 1000)
    assert not client.hexists("{shop}:order", old[0])


async def test_no_passing_product_is_503_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "REFUSED_S", 60)
    async with fake_product(shop, SOLD) as keys:
        shop.registry.found = [instance(one.addr.Port, CheckState.CRITICAL) for one in shop.registry.found]
        with trio.fail_after(5):
            answer = await shop.buy("aaa")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "no instance of product passes" in answer.body["error"]
    assert keys == []


async def test_a_registry_that_never_answered_is_503_with_the_reason(shop: Shop) -> None:
    shop.registry.error = "wrong token"
    answer = await shop.buy("aaa")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.body["error"] == "the registry did not return an address of product: wrong token"


async def test_while_the_registry_is_away_its_last_reply_is_used(shop: Shop) -> None:
    await shop.start()
    assert (await shop.buy("aaa")).status == 200
    shop.registry.error = "connection refused"
    assert (await shop.buy("aaa")).status == 200


async def test_the_order_service_finds_product_by_the_registrys_protocol(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that refuses is asked again with every purchase, since it may be put right there."""
    products, registry = Products(redis_server.url), FakeRegistry("secret")
    async with serving(registry) as address, trio.open_nursery() as nursery:
        monkeypatch.setenv("MINIKUBE_REGISTRY", address)
        monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", "guess")
        routes, (follow,) = order.build(Store(redis_server.url))
        nursery.start_soon(follow)
        async with open_service(routes) as service:
            refused = await service.ask("GET", "/purchase/aaa")
            assert (refused.status, "wrong token" in refused.body["error"]) == (503, True)
            registry.token = "guess"
            port = await products.start()
            async with minikube.open_registry() as client:
                await client.register(minikube.Registration("product", Address("127.0.0.1", port), "ttl:"))
            assert (await service.ask("GET", "/purchase/aaa")).status == 200
        products.end(port)
        nursery.cancel_scope.cancel()


async def test_refused_connections_become_503_soon(shop: Shop) -> None:
    """The instance is dead and the registry has not noticed yet, or never does."""
    (port,) = await shop.start()
    shop.products.end(port)
    with trio.fail_after(5):
        assert (await shop.buy("aaa")).status == 503


async def test_a_dead_instance_costs_nothing_while_another_lives(redis_server: RedisServer, shop: Shop) -> None:
    one, _two = await shop.start(2)
    assert await shop.buy_statuses("aaa", 4) == [200] * 4
    shop.products.end(one)
    assert await shop.buy_statuses("aaa", 4) == [200] * 4
    assert left(redis_server, "aaa") == 2


@pytest.mark.parametrize("replicas", [1, 3])
async def test_exactly_what_there_is_is_sold_when_an_instance_is_killed_in_the_middle(
    redis_server: RedisServer, shop: Shop, replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one replica comes back on its port after the kill; of three, the others take over."""
    monkeypatch.setattr(order, "PURCHASE_S", 60)  # no purchase gives up, however slowly the one comes back
    monkeypatch.setattr("services.web.HANDLE_S", 60)
    stock(redis_server, "many", 80)
    ports = await shop.start(replicas)
    answers: list[Answer] = []

    async def buy() -> None:
        answer = await shop.buy("many")
        while answer.status == 503:  # nothing was done: the customer comes again
            await trio.sleep(0.05)
            answer = await shop.buy("many")
        answers.append(answer)

    async def kill() -> None:
        await soon(lambda: left(redis_server, "many") <= 60)
        shop.products.end(ports[0])
        await shop.products.start(ports[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        for _ in range(100):
            nursery.start_soon(buy)
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(409)) == (80, 20)
    assert len(ids(answers)) == 80
    assert left(redis_server, "many") == 0
    assert {order["order_id"] for order in await orders(shop)} == ids(answers)


async def test_exactly_what_there_is_is_sold_when_redis_is_killed_in_the_middle(
    redis_server: RedisServer, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 503 a client buys again; after a 504 it sends the request again with the key that the error names."""
    monkeypatch.setattr(order, "PURCHASE_S", 2.0)
    # What is answered is on disk: more than is promised by default.
    redis_server.client().config_set("appendfsync", "always")
    stock(redis_server, "many", 60)
    await shop.start(3)
    answers: list[Answer] = []

    async def buy() -> None:
        answer, key = await shop.buy("many"), ""
        while answer.status in (503, 504):
            key = key_of(answer) if answer.status == 504 else key
            await trio.sleep(0.05)
            answer = await shop.buy("many", key)
        answers.append(answer)

    async def kill() -> None:
        await soon(lambda: left(redis_server, "many") <= 45)
        redis_server.kill()
        redis_server.start()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        for _ in range(80):
            nursery.start_soon(buy)
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(409)) == (60, 20)
    assert len(ids(answers)) == 60
    assert left(redis_server, "many") == 0
    assert {order["order_id"] for order in await orders(shop)} == ids(answers)


async def test_an_instance_that_hangs_is_left_for_another(
    redis_server: RedisServer, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "ATTEMPT_S", 0.5)
    one, _two = await shop.start(2)
    shop.products.signal(one, signal.SIGSTOP)
    assert await shop.buy_statuses("aaa", 4) == [200] * 4
    assert left(redis_server, "aaa") == 6


async def test_a_purchase_whose_time_ends_with_the_first_try_under_way_is_504(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "PURCHASE_S", 1.0)
    monkeypatch.setattr(order, "ATTEMPT_S", 30)
    (port,) = await shop.start()
    shop.products.signal(port, signal.SIGSTOP)
    answer = await shop.buy("aaa")
    assert answer.status == 504, "503 would say that nothing was done"
    assert "Idempotency-Key" in answer.body["error"]


async def test_an_earlier_order_is_looked_for_within_the_purchases_time(
    redis_server: RedisServer, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "PURCHASE_S", 0.3)
    monkeypatch.setattr(order, "FIND_S", 30)
    monkeypatch.setattr(store, "REPLY_TIMEOUT_S", 30)
    redis_server.pause()
    with trio.fail_after(15):
        assert (await shop.buy("aaa", "own-key")).status == 503
    redis_server.resume()


async def test_no_answer_is_504_with_a_key_to_ask_again(
    redis_server: RedisServer, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "ATTEMPT_S", 0.5)
    monkeypatch.setattr(order, "PURCHASE_S", 1.5)
    (port,) = await shop.start()
    shop.products.signal(port, signal.SIGSTOP)
    answer = await shop.buy("aaa")
    assert answer.status == 504
    shop.products.signal(port, signal.SIGCONT)
    monkeypatch.setattr(order, "PURCHASE_S", 30)
    monkeypatch.setattr(order, "ATTEMPT_S", 10)
    assert (await shop.buy("aaa", key_of(answer))).status == 200
    assert left(redis_server, "aaa") == 9, "taken once, however often it was sent"


async def test_an_absent_redis_is_503(redis_server: RedisServer, shop: Shop) -> None:
    await shop.start()
    assert (await shop.buy("aaa")).status == 200
    redis_server.kill()
    answer = await shop.buy("aaa")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.body["error"].startswith("Redis cannot be reached, nothing was done")
    assert (await shop.service.ask("GET", "/orders")).status == 503


@asynccontextmanager
async def fake_product(shop: Shop, *replies: Reply | HttpError) -> AsyncIterator[list[str]]:
    """A product that gives these replies, the last one for ever; yields the keys it was asked with."""
    keys: list[str] = []

    async def take(request: Request) -> Reply:
        keys.append(request.key() or "")
        reply = replies[min(len(keys), len(replies)) - 1]
        if isinstance(reply, HttpError):
            raise reply
        return reply

    async with open_service({"/product/{}": {"PUT": take}}) as service:
        shop.registry.passes(service.port)
        yield keys


SOLD = (200, {"id": "aaa", "name": "apple", "quantity": 4})


async def test_a_product_that_does_not_know_is_asked_again_with_the_same_key(shop: Shop) -> None:
    """Its 503 after that says nothing about the first time."""
    async with fake_product(shop, HttpError(504, "unknown"), HttpError(503, "not now"), SOLD) as keys:
        assert (await shop.buy("aaa")).body["remaining"] == 4
    assert (len(keys), len(set(keys))) == (3, 1)


async def test_a_product_that_did_nothing_is_503_with_its_reason(shop: Shop) -> None:
    async with fake_product(shop, HttpError(503, "no Redis")) as keys:
        answer = await shop.buy("aaa")
    assert (answer.status, answer.body) == (503, {"error": "no Redis"})
    assert len(keys) == 1


@pytest.mark.parametrize("reply", [(200, {"id": "aaa"}), (200, []), (201, SOLD[1]), HttpError(422, "another request")])
async def test_an_answer_that_makes_no_sense_is_502(shop: Shop, reply: Reply | HttpError) -> None:
    async with fake_product(shop, reply):
        assert (await shop.buy("aaa")).status == 502


async def test_a_sale_that_cannot_be_written_is_no_success(
    redis_server: RedisServer, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same key finds it and writes it when Redis is back."""
    monkeypatch.setattr(order, "PURCHASE_S", 0.5)
    redis_server.kill()
    async with fake_product(shop, SOLD) as keys:
        answer = await shop.buy("aaa")
        assert answer.status == 504
        redis_server.start()
        monkeypatch.setattr(order, "PURCHASE_S", 30)
        again = await shop.buy("aaa", key_of(answer))
    assert again.status == 200
    assert len(set(keys)) == 1
    assert [one["order_id"] for one in await orders(shop)] == [again.body["order_id"]]
