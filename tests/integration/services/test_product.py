"""The product API over HTTP, with a real Redis under it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from services.http_client import Answer, NotSent, Pool
from services.product import ProductApi
from services.stock import SCRIPTS, Stock
from services.store import Store
from services.web import Server
from tests.redis_server import RedisServer
from tests.unit.services.test_web import Client


class Shop:
    """A product service in this process."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place

    async def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, object]:
        async with await trio.open_tcp_stream(*self.place) as stream:
            client = Client(stream)
            more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body.encode())}\r\n\r\n"
            await client.send(head.encode() + body.encode())
            status, _, answer = await client.answer(method)
            return status, answer


@asynccontextmanager
async def open_shop(redis_server: RedisServer) -> AsyncIterator[Shop]:
    store = Store(redis_server.url, SCRIPTS)
    stock = Stock(store)
    store.greeting = stock.greeting
    server = Server(ProductApi(stock, lambda: store.trouble).routes())
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield Shop((await nursery.start(server.serve, "127.0.0.1", 0))[0])
        nursery.cancel_scope.cancel()


APPLE = {"id": "aaa", "name": "apple", "quantity": 10}


async def test_products_are_shown_taken_set_and_created(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        assert await shop.ask("GET", "/product/aaa") == (200, APPLE)
        assert await shop.ask("PUT", "/product/aaa") == (200, {**APPLE, "quantity": 9})
        assert await shop.ask("PUT", "/product/aaa", '{"quantity":1}') == (200, {**APPLE, "quantity": 1})
        assert (await shop.ask("PUT", "/product/aaa"))[0] == 200
        assert await shop.ask("PUT", "/product/aaa") == (409, {"error": "aaa is out of stock"})
        plum = {"id": "ccc", "name": "plum ü", "quantity": 2}
        assert (await shop.ask("PUT", "/product/ccc", '{"name":"plum ü"}'))[0] == 400
        assert await shop.ask("PUT", "/product/ccc", '{"name":"plum ü","quantity":2}') == (201, plum)
        status, every = await shop.ask("GET", "/products")
        assert (status, every) == (
            200,
            [{**APPLE, "quantity": 0}, {"id": "bbb", "name": "banana", "quantity": 7}, plum],
        )


async def test_what_is_not_there_is_404_and_what_is_wrong_400(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        for path in ("/product/zzz", "/product/a%20b", "/product/%7B", "/product/" + "x" * 100):
            assert (await shop.ask("GET", path))[0] == 404
            assert (await shop.ask("PUT", path))[0] == 404
        assert (await shop.ask("PUT", "/product/a%20b", '{"name":"x","quantity":1}'))[0] == 400
        assert (await shop.ask("PUT", "/product/aaa", '{"quantity":-1}'))[0] == 400
        assert (await shop.ask("DELETE", "/product/aaa"))[0] == 405
        assert (await shop.ask("PUT", "/product/aaa", idempotency_key="a b"))[0] == 400


async def test_a_retried_put_changes_nothing_more(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        first = await shop.ask("PUT", "/product/aaa", idempotency_key="k")
        assert await shop.ask("PUT", "/product/aaa", idempotency_key="k") == first
        assert (await shop.ask("PUT", "/product/bbb", idempotency_key="k"))[0] == 422
        assert (await shop.ask("PUT", "/product/aaa", '{"quantity":3}', idempotency_key="k"))[0] == 422
        assert (await shop.ask("GET", "/product/aaa"))[1] == {**APPLE, "quantity": 9}


async def test_health_is_of_the_process_and_tells_of_redis(redis_server: RedisServer) -> None:
    async with open_shop(redis_server) as shop:
        await shop.ask("GET", "/products")
        assert await shop.ask("GET", "/health") == (200, {"status": "ok", "store": "ok"})
        redis_server.kill()
        assert (await shop.ask("PUT", "/product/aaa"))[0] in (503, 504)
        status, answer = await shop.ask("GET", "/product/aaa")
        assert status == 503
        assert isinstance(answer, dict)
        status, answer = await shop.ask("GET", "/health")
        assert status == 200
        assert isinstance(answer, dict)
        assert answer["store"] != "ok"


async def test_the_client_keeps_connections_and_notices_dead_ones(redis_server: RedisServer) -> None:
    pool = Pool()
    async with open_shop(redis_server) as shop:
        host, port = shop.place
        for _ in range(3):
            answer = await pool.request((host, port), "GET", "/product/aaa", (), 2.0)
            assert isinstance(answer, Answer)
            assert answer.status == 200
        assert len(pool._idle[host, port]) == 1
    try:
        await pool.request((host, port), "GET", "/product/aaa", (), 2.0)
    except NotSent:
        pass
    else:
        raise AssertionError("nobody listens there")
    pool.close()
