"""The order service: finds product in the registry and buys from it. `python -m services.order`.

    GET or POST /purchase/{id}   200 {"order_id", "product_id", "product", "remaining"}, 404, 409,
                                 503 with Retry-After while no product instance passes, 504 when the time is over
    GET /orders                  the latest 100, newest first
    GET /health                  200: the process serves; "store" says how Redis is

One purchase is one key to product (`Idempotency-Key`), however often it has to be sent: when an instance dies or does
not answer, the purchase is sent again, elsewhere or to the one that comes back, within `PURCHASE_S`. So nothing is
taken twice, and nothing is taken without a sale while that time lasts. 503 means that nothing was done. A caller's own
`Idempotency-Key` makes its purchase safe to send again, for ten minutes; a 504 names the key to do that with.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import NoReturn
from urllib.parse import quote
from uuid import uuid4

import msgspec
import trio

from services.app import Service, Settings, run
from services.directory import Directory
from services.http_client import Answer, NotSent, Place, Pool, Unanswered
from services.messages import HttpError, Reply, Request, Routes, unavailable
from services.orders import SCRIPTS, Order, Orders
from services.product import health, no_product, read_key, stocked
from services.store import Store, StoreAway, StoreSilent
from services.web import Limits

PURCHASE_S = 6.0
"""From the request to product's answer. With the second that writing the order may take, it ends within a stop's drain."""
ATTEMPT_S = 1.5
FIND_S = 1.0
"""How long Redis is asked for the order that a caller's own key may have become already: product knows the key, too."""
REFUSED_S = 1.0
"""How long refused connections are worth another try before it is 503: the registry tells of a death in 0.1 s."""
PAUSE_S = 0.05
PAUSE_MOST_S = 0.5
HANDLE_S = 10.0

_encode = msgspec.json.Encoder().encode


class Taken(msgspec.Struct):
    """What product answers to a PUT, as far as it matters here."""

    id: str
    name: str
    quantity: int


_decode = msgspec.json.Decoder(Taken).decode


class OrderApi:
    """The handlers, over the directory of product instances and the orders so far."""

    def __init__(self, directory: Directory, orders: Orders, trouble: Callable[[], str]) -> None:
        self._directory = directory
        self._orders = orders
        self._trouble = trouble
        self._pool = Pool()

    def routes(self) -> Routes:
        latest = stocked(self.latest)
        return {
            "/purchase/{}": {"GET": self.purchase, "POST": self.purchase},
            "/orders": {"GET": latest, "HEAD": latest},
            "/health": {"GET": self.health, "HEAD": self.health},
        }

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Close the connections to instances that no longer pass: their ports do not come back. At the end, all."""
        task_status.started()
        try:
            while True:
                await self._directory.wait_change()
                self._pool.keep(self._directory.passes)
        finally:
            self._pool.close()

    async def purchase(self, request: Request, id: str) -> Reply:
        given = read_key(request)
        key = given or uuid4().hex
        order_id = sha256(f"{id} {key}".encode()).hexdigest()[:32]
        attempt = _Attempts(self._directory, trio.current_time())
        answer: Answer | None = None
        with trio.move_on_after(PURCHASE_S):
            if given and (order := await self._placed(order_id)):
                return _sold(order)
            answer = await self._take(id, order_id, attempt)
        if answer is None:
            raise attempt.over(key)
        if answer.status == 404:
            raise no_product(id)
        if answer.status == 409:
            raise HttpError(409, f"{id} is out of stock")
        try:
            taken = _decode(answer.body) if answer.status == 200 else None
        except msgspec.MsgspecError:
            taken = None
        if taken is None:
            raise HttpError(502, f"{self._directory.service} answered {answer.status}, which makes no sense here")
        order = Order(order_id, id, taken.name, taken.quantity, round(time.time(), 3))
        await self._orders.record(order)
        return _sold(order)

    async def latest(self, _request: Request, _: str) -> Reply:
        return Reply(200, _encode(await self._orders.latest()))

    async def health(self, _request: Request, _: str) -> Reply:
        return health(self._trouble())

    async def _placed(self, order_id: str) -> Order | None:
        """The order of that id, if it was placed and Redis can say so; if not, product remembers the key."""
        with trio.move_on_after(FIND_S):
            try:
                return await self._orders.find(order_id)
            except (StoreAway, StoreSilent):
                pass
        return None

    async def _take(self, id: str, order_id: str, attempt: "_Attempts") -> Answer:
        """Product's answer to taking one for an order, until the caller's deadline. HttpError 503: nothing was done."""
        headers = (("idempotency-key", f"order-{order_id}"),)
        target = f"/product/{quote(id, safe='')}"
        await self._directory.wait_known()
        while True:
            place = attempt.next_place(trio.current_time())
            if place is None:
                with trio.move_on_after(attempt.pause()):
                    await self._directory.wait_change()
                continue
            try:
                answer = await self._pool.request(place, "PUT", target, headers, ATTEMPT_S, attempt.sending)
            except NotSent:
                attempt.refused(place)
                self._pool.forget(place)
            except Unanswered:
                attempt.unanswered(place)
            else:
                if answer.status not in (503, 504):
                    return answer
                attempt.put_off(place, answer)


class _Attempts:
    """The decisions of one purchase: where to try next, when to wait, when to give up, and with which error."""

    def __init__(self, directory: Directory, now: float) -> None:
        self._directory = directory
        self._service = directory.service
        self._tried: set[Place] = set()
        self._unknown = False
        """Something was sent that may have been done: the same key must go on until an answer comes."""
        self._under_way = False
        self._pause = PAUSE_S
        self._began = now

    def next_place(self, now: float) -> Place | None:
        """An instance to try now; None: wait first. HttpError 503 when there is nothing to wait for."""
        place = self._directory.pick(self._tried)
        if place is not None and place not in self._tried:
            return place
        if self._unknown:
            return None
        if place is None:
            if not self._directory.known:
                raise unavailable("the registry cannot be reached")
            raise unavailable(f"no instance of {self._service} passes its check")
        if now - self._began > REFUSED_S:
            raise unavailable(f"every instance of {self._service} refuses connections")
        return None

    def pause(self) -> float:
        """How long to wait at most for the registry to tell of a change; then every instance may be tried again."""
        self._tried.clear()
        seconds, self._pause = self._pause, min(self._pause * 2, PAUSE_MOST_S)
        return seconds

    def sending(self) -> None:
        """From now on, should the time be over before there is an answer, it may have been done."""
        self._under_way = True

    def refused(self, place: Place) -> None:
        self._tried.add(place)

    def unanswered(self, place: Place) -> None:
        self._tried.add(place)
        self._under_way, self._unknown = False, True

    def put_off(self, place: Place, answer: Answer) -> None:
        """The instance itself said 503 (it did nothing) or 504 (it does not know)."""
        self._tried.add(place)
        self._under_way, self._unknown = False, self._unknown or answer.status == 504
        if not self._unknown:
            raise unavailable(f"{self._service} cannot sell now: {_reason(answer)}")

    def over(self, key: str) -> HttpError:
        """The time is up."""
        if not (self._unknown or self._under_way):
            return unavailable(f"{self._service} is too busy")
        again = f"to learn what came of it, send it again with Idempotency-Key: {key}"
        return HttpError(504, f"{self._service} did not answer within {PURCHASE_S:g} s; {again}")


def _reason(answer: Answer) -> str:
    try:
        return str(msgspec.json.decode(answer.body)["error"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return f"it answered {answer.status}"


def _sold(order: Order) -> Reply:
    sold = {name: getattr(order, name) for name in ("order_id", "product_id", "product", "remaining")}
    return Reply(200, _encode(sold))


def build() -> Service:
    settings = Settings.from_environ("order", 6060)
    store = Store(settings.redis_url, SCRIPTS)
    orders = Orders(store)
    directory = Directory("product")
    api = OrderApi(directory, orders, lambda: store.trouble)
    tasks = [store.run, orders.run, directory.run, api.run]
    return Service(settings, api.routes(), tasks, Limits(handle=HANDLE_S), orders.flush)


if __name__ == "__main__":
    raise SystemExit(run(build))
