"""The stock and the orders on a real Redis: nothing oversold, nothing done twice, a Redis that goes away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from services import orders as orders_module
from services import stock as stock_module
from services.orders import Order, Orders
from services.stock import Product, Stock
from services.store import Store, StoreAway, StoreSilent
from tests.eventually import soon
from tests.redis_server import RedisServer

SCRIPTS = {**stock_module.SCRIPTS, **orders_module.SCRIPTS}


@asynccontextmanager
async def open_stock(url: str) -> AsyncIterator[tuple[Stock, Store]]:
    store = Store(url, SCRIPTS)
    stock = Stock(store)
    store.greeting = stock.greeting
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield stock, store
        nursery.cancel_scope.cancel()


async def test_the_first_stock_is_written_where_absent_only(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        assert await stock.all() == [Product("aaa", "apple", 10), Product("bbb", "banana", 7)]
        assert (await stock.take("aaa", None)).status == 200
    async with open_stock(redis_server.url) as (stock, _):
        assert await stock.get("aaa") == Product("aaa", "apple", 9)


async def test_an_emptied_redis_gets_its_first_stock_again(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        await stock.take("aaa", None)
        redis_server.client().flushall()
        assert (await stock.take("aaa", None)).product == Product("aaa", "apple", 9)
        redis_server.client().flushall()
        assert await stock.get("bbb") == Product("bbb", "banana", 7)
        assert len(await stock.all()) == 2


async def test_parallel_takes_give_exactly_what_there_is(redis_server: RedisServer) -> None:
    """Several replicas, each with a connection of its own, never oversell."""
    async with open_stock(redis_server.url) as (one, _), open_stock(redis_server.url) as (two, _):
        await one.put("c", "cherry", 137, None)
        statuses: list[int] = []

        async def take(stock: Stock) -> None:
            statuses.append((await stock.take("c", None)).status)

        async with trio.open_nursery() as nursery:
            for n in range(300):
                nursery.start_soon(take, one if n % 2 else two)
        assert (statuses.count(200), statuses.count(409)) == (137, 163)
        assert await one.get("c") == Product("c", "cherry", 0)


async def test_the_same_key_takes_once(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        first = await stock.take("aaa", "k1")
        assert await stock.take("aaa", "k1") == first
        assert (await stock.take("bbb", "k1")).status == 422
        assert (await stock.put("aaa", "apple", 5, "k1")).status == 422
        assert await stock.get("aaa") == Product("aaa", "apple", 9)
        assert 0 < redis_server.client().ttl("{shop}:reply:k1") <= 600


async def test_put_creates_changes_and_says_what_is_missing(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        assert (await stock.put("c", "cherry", None, None)).status == 400
        assert await stock.put("c", "cherry", 3, None) == (201, Product("c", "cherry", 3))
        assert await stock.put("c", None, 4, None) == (200, Product("c", "cherry", 4))
        assert await stock.put("c", "kirsch", None, None) == (200, Product("c", "kirsch", 4))
        assert (await stock.take("nothing", None)).status == 404
        assert await stock.get("nothing") is None


async def test_equal_reads_that_wait_together_are_one_command(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        await stock.get("aaa")
        before = redis_server.client().info("commandstats")["cmdstat_hmget"]["calls"]
        async with trio.open_nursery() as nursery:
            for _n in range(500):
                nursery.start_soon(stock.get, "aaa")
        after = redis_server.client().info("commandstats")["cmdstat_hmget"]["calls"]
        assert after - before < 50


async def test_a_redis_that_was_killed_is_used_again_when_it_is_back(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, store):
        assert (await stock.take("aaa", "before")).status == 200
        redis_server.kill()
        with pytest.raises((StoreAway, StoreSilent)):
            await stock.take("aaa", "during")
        with pytest.raises(StoreAway):
            await stock.get("aaa")
        assert store.trouble
        redis_server.start()
        assert (await stock.take("aaa", "during")).product == Product("aaa", "apple", 8)
        assert (await stock.take("aaa", "before")).product == Product("aaa", "apple", 9), "as remembered"
        assert store.trouble == ""


async def test_a_restarted_redis_costs_nothing_when_it_is_back_in_time(redis_server: RedisServer) -> None:
    """The broken connection is noticed, and the command goes out once more on a new one."""
    async with open_stock(redis_server.url) as (stock, _):
        assert (await stock.take("aaa", None)).status == 200
        redis_server.kill()
        redis_server.start()
        assert (await stock.take("aaa", None)).product == Product("aaa", "apple", 8)


async def test_a_paused_redis_is_silence_not_refusal(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been done: the same key finds out."""
    monkeypatch.setattr("services.store.REPLY_TIMEOUT_S", 1.0)
    async with open_stock(redis_server.url) as (stock, _):
        await stock.get("aaa")
        redis_server.pause()
        with pytest.raises(StoreSilent):
            await stock.take("aaa", "k")
        redis_server.resume()
        assert (await stock.take("aaa", "k")).product == Product("aaa", "apple", 9)


async def test_what_redis_refuses_is_not_done(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        await stock.get("aaa")
        redis_server.client().set("{shop}:product:odd", "not a hash")
        with pytest.raises(StoreAway, match="WRONGTYPE"):
            await stock.get("odd")
        assert await stock.get("aaa") == Product("aaa", "apple", 10)


async def test_a_store_nobody_listens_on_is_away(tmp_path: object) -> None:
    async with open_stock(f"unix://{tmp_path}/nothing.sock") as (stock, _):
        with pytest.raises(StoreAway):
            await stock.get("aaa")


async def test_a_read_that_was_refused_is_taken_when_there_is_room(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stock(redis_server.url) as (stock, store):
        await stock.all()
        with monkeypatch.context() as full:
            full.setattr("services.store.WAITING_MAX", 0)
            with pytest.raises(StoreAway, match="waiting"):
                await store.read("GET", "x")
        with trio.fail_after(30):
            assert await store.read("GET", "x") is None


async def test_a_cancelled_caller_leaves_the_others_alone(redis_server: RedisServer) -> None:
    async with open_stock(redis_server.url) as (stock, _):
        await stock.get("aaa")
        async with trio.open_nursery() as nursery:
            for _n in range(50):
                nursery.start_soon(stock.get, "aaa")
            with trio.move_on_after(0):
                await stock.get("aaa")
        assert (await stock.get("aaa")) is not None


def order(n: int) -> Order:
    return Order(f"{n:032x}", "aaa", "apple", 1, float(n))


async def test_orders_come_newest_first_and_once(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_module, "KEEP", 5)
    async with open_stock(redis_server.url) as (_, store):
        orders = Orders(store)
        for n in [1, 2, 2, 3, 4, 5, 6, 7]:
            await orders.record(order(n))
        assert await orders.latest() == [order(n) for n in (7, 6, 5, 4, 3)]
        assert await orders.find(order(7).order_id) == order(7)
        assert await orders.find(order(1).order_id) is None
        assert redis_server.client().hlen("{shop}:order") == 5


async def test_an_order_that_could_not_be_written_is_written_later(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_module, "AGAIN_S", 0.02)
    async with open_stock(redis_server.url) as (stock, store), trio.open_nursery() as nursery:
        orders = Orders(store)
        await nursery.start(orders.run)
        await stock.get("aaa")
        redis_server.kill()
        await orders.record(order(1))
        assert await orders.find(order(1).order_id) == order(1), "known here already"
        redis_server.start()
        client = redis_server.client()
        await soon(lambda: client.hlen("{shop}:order"))
        assert await orders.latest() == [order(1)]
        nursery.cancel_scope.cancel()


async def test_the_last_words_are_written_or_told(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orders.RECORD_WAIT_S", 0.2)
    monkeypatch.setattr("services.orders.FLUSH_S", 0.5)
    async with open_stock(redis_server.url) as (stock, store):
        orders = Orders(store)
        await stock.all()
        redis_server.kill()
        await orders.record(Order("one", "aaa", "apple", 9, 1.0))
        told = await orders.flush()
        assert "one (aaa)" in told
        redis_server.start()
        monkeypatch.setattr("services.orders.FLUSH_S", 5.0)
        assert await orders.flush() == ""
        assert await Orders(store).find("one") is not None
