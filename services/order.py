"""The order service: it finds the product service in the registry and buys from it. `python -m services.order`.

    GET or POST /purchase/{id}   200 {"order_id", "product_id", "product", "remaining"}, 404, 409, 502 when product's answer
                                 makes no sense, 503 while no product passes its check, 504 when the outcome is not known
    GET /orders                  the latest 100, newest first
    GET /health                  200 while the process serves; "store" is "ok", or why Redis cannot be used

A purchase is one `Idempotency-Key` for product, however often it is sent: when an instance dies or does not answer, or the
order cannot be written, it is sent again for at most `PURCHASE_S`. So nothing is taken twice. 503 means that nothing was
done. A client's own key makes its purchase safe to send again, for ten minutes; the error of a 504 names the key to send.
"""

import random
import time
from contextlib import suppress
from hashlib import sha256
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import h11
import msgspec
import trio

import minikube
from services.app import Task, run
from services.scripts import ORDERS
from services.store import Store, StoreError
from services.web import HttpError, Reply, Request, Routes, next_event

PURCHASE_S = 6.0  # until the order is written; shorter than a stop's drain
REFUSED_S = 1.0  # how long refused connections are tried again before it is 503: the registry notices a death in 0.1 s
REGISTRY_S, FIND_S, CONNECT_S, ATTEMPT_S, PAUSE_S = 0.5, 1.0, 1.0, 1.5, 0.1
CONNECTIONS_MAX, ANSWER_BYTES = 128, 64 * 1024


class Answer(msgspec.Struct):
    """A response of the product service: its JSON, a product or an error, and the HTTP status; 0 for an incomplete response."""

    status: int = 0
    name: str = ""
    quantity: int = -1
    error: str = "without a reason"


class Purchase(msgspec.Struct):
    """A purchase that is not finished. `maybe_done`: the product service may have reduced the stock for it."""

    id: str
    order_id: str
    maybe_done: bool = False


class OrderApi:
    """The handlers of the order service's requests. They call the product service, and keep orders in Redis."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.registry: minikube.Registry  # set by `run`
        self._passing: list[minikube.Address] | None = None  # the registry's last reply; None: there was none yet
        self._missing = "the registry cannot be reached"
        self._connections = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def run(self) -> None:
        """Open the registry client that all purchases share; close it when cancelled."""
        async with minikube.open_registry() as self.registry:
            await trio.sleep_forever()

    async def latest(self, _request: Request) -> Reply:
        return 200, [msgspec.json.decode(row) for row in await self._store.script(ORDERS, "latest") if row]

    async def purchase(self, request: Request) -> Reply:
        key = request.key() or uuid4().hex
        purchase = Purchase(request.id, sha256(f"{request.id} {key}".encode()).hexdigest()[:32])
        with trio.move_on_after(PURCHASE_S):
            order = await self._find(purchase.order_id) if request.key() else None
            return 200, order or await self._buy(purchase)
        if not purchase.maybe_done:
            raise HttpError(503, f"product could not be asked within {PURCHASE_S:g} s, nothing was done")
        raise HttpError(504, f"no answer within {PURCHASE_S:g} s; find out by repeating it with Idempotency-Key: {key}")

    async def _buy(self, purchase: Purchase) -> dict[str, Any]:
        """Buy one item from the product service, write the order and return it. Raise HttpError.

        The request is repeated with the same `Idempotency-Key` until an instance responds.
        """
        tried, began = set[minikube.Address](), trio.current_time()
        while True:
            address = next((address for address in await self._look_up() if address not in tried), None)
            if address is None:
                # Once product may have done it, 503 would be wrong: only a reply shows whether it did.
                if not purchase.maybe_done and (self._passing == [] or trio.current_time() > began + REFUSED_S):
                    raise HttpError(503, self._missing)
                await trio.sleep(PAUSE_S)
                tried.clear()
                continue
            tried.add(address)
            async with self._connections:
                earlier, purchase.maybe_done = purchase.maybe_done, True  # also if the time is over before the answer
                answer = await _take(address, purchase)
            if answer is None:
                purchase.maybe_done = earlier
            elif answer.status == 200 and answer.quantity >= 0:
                order: dict[str, Any] = {"order_id": purchase.order_id, "product_id": purchase.id}
                order |= {"product": answer.name, "remaining": answer.quantity}
                with suppress(StoreError):
                    stamped = msgspec.json.encode({**order, "time": round(time.time(), 3)})
                    await self._store.script(ORDERS, "record", purchase.order_id, stamped)
                    return order
            elif answer.status in (404, 409) or (answer.status == 503 and not earlier):
                raise HttpError(answer.status, answer.error)
            elif answer.status not in (0, 503, 504):
                raise HttpError(502, f"product answered {answer.status}, which makes no sense here")

    async def _look_up(self) -> list[minikube.Address]:
        """Return the addresses of the product service's passing instances, shuffled; the last known if the registry is down."""
        with trio.move_on_after(REGISTRY_S):
            try:
                instances = await self.registry.instances("product")
                passing = [instance for instance in instances if instance.state == minikube.CheckState.PASSING]
                self._passing = [instance.addr for instance in passing]
                reached = "no passing instance of product can be reached"
                self._missing = reached if self._passing else "no instance of product passes its check"
            except minikube.MinikubeError as error:
                self._missing = f"the registry did not return an address of product: {error}"
        return random.sample(self._passing or [], len(self._passing or []))

    async def _find(self, order_id: str) -> dict[str, Any] | None:
        """Return the order with this id from Redis; None if there is none or Redis fails."""
        with trio.move_on_after(FIND_S), suppress(StoreError):
            if row := await self._store.script(ORDERS, "find", order_id):
                return {name: value for name, value in msgspec.json.decode(row).items() if name != "time"}
        return None


async def _take(address: minikube.Address, purchase: Purchase) -> Answer | None:
    """Send the purchase to an instance of the product service and return its response; None if it cannot be connected to."""
    http, status, body, answer, stream = h11.Connection(h11.CLIENT), 0, b"", Answer(), None
    headers = [("host", f"{address}"), ("content-length", "0"), ("connection", "close")]
    headers += [("idempotency-key", f"order-{purchase.order_id}")]
    head = h11.Request(method="PUT", target=f"/product/{quote(purchase.id, safe='')}", headers=headers)
    with trio.move_on_after(CONNECT_S), suppress(OSError):
        stream = await trio.open_tcp_stream(f"{address.IP}%{address.Zone}".rstrip("%"), address.Port)
    if stream is None:
        return None
    async with stream:
        with trio.move_on_after(ATTEMPT_S), suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            await stream.send_all((http.send(head) or b"") + (http.send(h11.EndOfMessage()) or b""))
            while not isinstance(event := await next_event(http, stream), h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data) and len(body) <= ANSWER_BYTES:
                    body += event.data
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                answer = msgspec.json.decode(body, type=Answer)
            answer.status = status
    return answer


def build(store: Store) -> tuple[Routes, list[Task]]:
    api = OrderApi(store)
    purchase, latest = {"GET": api.purchase, "POST": api.purchase}, {"GET": api.latest, "HEAD": api.latest}
    return {"/purchase/{}": purchase, "/orders": latest}, [api.run]


if __name__ == "__main__":
    run("order", 6060, build)
