"""Purchases against real product processes: exactly what there is is sold, whatever dies in the middle."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from minikube import Address, CheckState, Instance, WatchSnapshot
from services import orders as orders_module
from services.directory import Directory
from services.messages import Reply, Request
from services.order import OrderApi
from services.orders import Orders
from services.store import Store
from services.web import Server
from tests.eventually import soon
from tests.paths import ROOT
from tests.redis_server import RedisServer


def snapshot(*ports: int) -> WatchSnapshot:
    """What the registry would say: these pass."""
    instances = tuple(
        Instance(f"{port:08x}", "product", Address("127.0.0.1", port), f"tcp://127.0.0.1:{port}", CheckState.PASSING)
        for port in ports
    )
    return WatchSnapshot(revision=1, instances=instances)


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

    def end(self, port: int, sig: int = signal.SIGKILL) -> None:
        process = self.running.pop(port)
        process.send_signal(signal.SIGCONT)
        process.send_signal(sig)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Shop:
    """Products and an order service whose directory the test writes itself."""

    def __init__(self, products: Products, directory: Directory, api: OrderApi) -> None:
        self.products = products
        self.directory = directory
        self.api = api
        self.server = Server(api.routes())

    async def buy(self, id: str, key: str = "") -> Reply:
        headers = [(b"idempotency-key", key.encode())] if key else []
        return await self.server.respond(Request("POST", f"/purchase/{id}", "", headers, b""))


@asynccontextmanager
async def open_shop(redis_server: RedisServer) -> AsyncIterator[Shop]:
    store = Store(redis_server.url, orders_module.SCRIPTS)
    orders, directory = Orders(store), Directory("product")
    api = OrderApi(directory, orders, lambda: store.trouble)
    shop = Shop(Products(redis_server.url), directory, api)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await nursery.start(orders.run)
        await nursery.start(api.run)
        try:
            yield shop
        finally:
            for port in list(shop.products.running):
                shop.products.end(port)
        nursery.cancel_scope.cancel()


def stock(redis_server: RedisServer, id: str, quantity: int) -> None:
    client = redis_server.client()
    client.hset(f"{{shop}}:product:{id}", mapping={"name": "thing", "quantity": quantity})


def left(redis_server: RedisServer, id: str) -> int:
    return int(redis_server.client().hget(f"{{shop}}:product:{id}", "quantity") or -1)


async def test_a_purchase_tells_what_was_bought_and_what_remains(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        shop.directory.apply(snapshot(await shop.products.start()))
        reply = await shop.buy("aaa")
        sold = json.loads(reply.body)
        assert reply.status == 200
        assert sold == {"order_id": sold["order_id"], "product_id": "aaa", "product": "apple", "remaining": 9}
        latest = json.loads((await shop.server.respond(Request("GET", "/orders", "", [], b""))).body)
        assert [order["order_id"] for order in latest] == [sold["order_id"]]
        assert (await shop.buy("nothing")).status == 404
        assert [(await shop.buy("aaa")).status for _ in range(10)] == [200] * 9 + [409]


async def test_the_same_key_is_the_same_order(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        shop.directory.apply(snapshot(await shop.products.start()))
        first = await shop.buy("aaa", "mine")
        assert await shop.buy("aaa", "mine") == first
        assert left(redis_server, "aaa") == 9


async def test_nobody_passing_is_503_at_once(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        shop.directory.apply(snapshot())
        with trio.fail_after(10):
            reply = await shop.buy("aaa")
        assert reply.status == 503
        assert ("retry-after", "1") in reply.headers


async def test_refused_connections_become_503_soon(redis_server: RedisServer) -> None:
    """The instance is dead and the registry has not noticed yet, or never does."""
    async with open_shop(redis_server) as shop:
        port = await shop.products.start()
        shop.products.end(port)
        shop.directory.apply(snapshot(port))
        with trio.fail_after(10):
            assert (await shop.buy("aaa")).status == 503


async def test_a_dead_instance_costs_nothing_while_another_lives(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        one, two = await shop.products.start(), await shop.products.start()
        shop.directory.apply(snapshot(one, two))
        assert [(await shop.buy("aaa")).status for _ in range(4)] == [200] * 4
        shop.products.end(one)
        assert [(await shop.buy("aaa")).status for _ in range(4)] == [200] * 4
        assert left(redis_server, "aaa") == 2


@pytest.mark.parametrize("replicas", [1, 3])
async def test_exactly_what_there_is_is_sold_when_an_instance_is_killed_in_the_middle(
    redis_server: RedisServer, replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one replica comes back on its port after the kill; of three, the others take over."""
    monkeypatch.setattr("services.order.PURCHASE_S", 60)  # nobody gives up, however slowly the one comes back
    stock(redis_server, "many", 80)
    async with open_shop(redis_server) as shop:
        ports = [await shop.products.start() for _ in range(replicas)]
        shop.directory.apply(snapshot(*ports))
        replies: list[Reply] = []

        async def buy() -> None:
            reply = await shop.buy("many")
            while reply.status == 503:  # nothing was done: the customer comes again
                await trio.sleep(0.05)
                reply = await shop.buy("many")
            replies.append(reply)

        async def kill() -> None:
            await soon(lambda: left(redis_server, "many") <= 60)
            shop.products.end(ports[0])
            await shop.products.start(ports[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            for _ in range(100):
                nursery.start_soon(buy)
        statuses = [reply.status for reply in replies]
        assert (statuses.count(200), statuses.count(409)) == (80, 20)
        ids = {json.loads(reply.body)["order_id"] for reply in replies if reply.status == 200}
        assert len(ids) == 80
        assert left(redis_server, "many") == 0


async def test_exactly_what_there_is_is_sold_when_redis_is_killed_in_the_middle(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer who is told 503 comes again; one who is told 504 asks again with the key that the answer names."""
    monkeypatch.setattr("services.order.PURCHASE_S", 2.0)
    redis_server.client().config_set(
        "appendfsync", "always"
    )  # what is answered is on disk: more than is promised by default
    stock(redis_server, "many", 60)
    async with open_shop(redis_server) as shop:
        shop.directory.apply(snapshot(*[await shop.products.start() for _ in range(3)]))
        replies: list[Reply] = []

        async def buy() -> None:
            reply, key = await shop.buy("many"), ""
            while reply.status in (503, 504):
                if reply.status == 504:
                    key = json.loads(reply.body)["error"].rpartition(" ")[2]
                await trio.sleep(0.05)
                reply = await shop.buy("many", key)
            replies.append(reply)

        async def kill() -> None:
            await soon(lambda: left(redis_server, "many") <= 45)
            redis_server.kill()
            redis_server.start()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            for _ in range(80):
                nursery.start_soon(buy)
        statuses = [reply.status for reply in replies]
        assert (statuses.count(200), statuses.count(409)) == (60, 20)
        assert len({json.loads(reply.body)["order_id"] for reply in replies if reply.status == 200}) == 60
        assert left(redis_server, "many") == 0


async def test_an_instance_that_hangs_is_left_for_another(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.ATTEMPT_S", 0.5)
    async with open_shop(redis_server) as shop:
        one, two = await shop.products.start(), await shop.products.start()
        shop.directory.apply(snapshot(one, two))
        shop.products.running[one].send_signal(signal.SIGSTOP)
        assert [(await shop.buy("aaa")).status for _ in range(4)] == [200] * 4
        shop.products.running[one].send_signal(signal.SIGCONT)
        assert left(redis_server, "aaa") == 6


async def test_a_connection_to_who_no_longer_passes_is_closed(redis_server: RedisServer) -> None:
    async def take(_request: Request, id: str) -> Reply:
        return Reply(200, json.dumps({"id": id, "name": "thing", "quantity": 1}).encode())

    product = Server({"/product/{}": {"PUT": take}})
    async with open_shop(redis_server) as shop, trio.open_nursery() as nursery:
        ((_, port),) = await nursery.start(product.serve, "127.0.0.1", 0)
        shop.directory.apply(snapshot(port))
        assert (await shop.buy("aaa")).status == 200
        assert len(product.connections) == 1, "kept for the next purchase"
        shop.directory.apply(snapshot())
        await soon(lambda: not product.connections)
        nursery.cancel_scope.cancel()


async def test_a_purchase_whose_time_ends_with_the_first_try_under_way_is_not_known(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.PURCHASE_S", 1.0)
    monkeypatch.setattr("services.order.ATTEMPT_S", 30)
    async with open_shop(redis_server) as shop:
        port = await shop.products.start()
        shop.directory.apply(snapshot(port))
        shop.products.running[port].send_signal(signal.SIGSTOP)
        reply = await shop.buy("aaa")
        assert reply.status == 504, "503 would say that nothing was done"
        assert b"Idempotency-Key" in reply.body


async def test_looking_for_an_earlier_order_is_part_of_the_purchases_time(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.PURCHASE_S", 0.3)
    monkeypatch.setattr("services.order.FIND_S", 30)
    monkeypatch.setattr("services.store.REPLY_TIMEOUT_S", 30)
    async with open_shop(redis_server) as shop:
        shop.directory.apply(snapshot(1))
        redis_server.pause()
        began = trio.current_time()
        assert (await shop.buy("aaa", "own-key")).status == 503
        assert trio.current_time() - began < 15
        redis_server.resume()


async def test_nobody_answering_is_504_with_a_key_to_ask_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.ATTEMPT_S", 0.5)
    monkeypatch.setattr("services.order.PURCHASE_S", 1.5)
    async with open_shop(redis_server) as shop:
        port = await shop.products.start()
        shop.directory.apply(snapshot(port))
        shop.products.running[port].send_signal(signal.SIGSTOP)
        reply = await shop.buy("aaa")
        assert reply.status == 504
        key = json.loads(reply.body)["error"].rpartition(" ")[2]
        shop.products.running[port].send_signal(signal.SIGCONT)
        monkeypatch.setattr("services.order.PURCHASE_S", 30)
        monkeypatch.setattr("services.order.ATTEMPT_S", 10)
        assert (await shop.buy("aaa", key)).status == 200
        assert left(redis_server, "aaa") == 9, "taken once, however often it was sent"


async def test_an_absent_redis_is_503(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_shop(redis_server) as shop:
        shop.directory.apply(snapshot(await shop.products.start()))
        assert (await shop.buy("aaa")).status == 200
        monkeypatch.setattr("services.order.PURCHASE_S", 2.0)
        redis_server.kill()
        first = await shop.buy("aaa")
        assert first.status in (503, 504)
        assert (await shop.buy("aaa")).status == 503


async def test_term_ends_a_product_with_0(redis_server: RedisServer) -> None:
    products = Products(redis_server.url)
    port = await products.start()
    process = products.running[port]
    process.terminate()
    assert process.wait(timeout=30) == 0
    products.end(port)
