"""The product service: a stock of things, one less with every PUT. `python -m services.product`.

    GET /product/{id}    200 {"id", "name", "quantity"}, 404
    PUT /product/{id}    without a body one less: 200, 404, 409 when none is left
                         with {"name"?, "quantity"?} sets them: 200, 201 created, 400
    GET /products        all of them
    GET /health          200: the process serves; "store" says how Redis is

A PUT with an `Idempotency-Key` may be sent again: the second time gives the first reply and changes nothing; the
same key for something else is 422. Without Redis: 503 when nothing was done, 504 when that is not known.
"""

import re
from collections.abc import Callable

import msgspec

from services.app import Service, Settings, run
from services.messages import Handler, HttpError, Reply, Request, Routes, unavailable
from services.stock import NAME_MAX, QUANTITY_MAX, SCRIPTS, Stock
from services.store import Store, StoreAway, StoreSilent

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[!-~]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PUT."""

    name: str | None = None
    quantity: int | None = None


_decode = msgspec.json.Decoder(Wanted).decode


def read_wanted(body: bytes) -> Wanted:
    """The body of a PUT, checked; HttpError 400 with the reason."""
    try:
        wanted = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError(400, f'the body must be {{"name"?, "quantity"?}}: {error}') from None
    if wanted.name is None and wanted.quantity is None:
        raise HttpError(400, "nothing to set: give name, quantity, or no body at all to take one")
    if wanted.quantity is not None and not 0 <= wanted.quantity <= QUANTITY_MAX:
        raise HttpError(400, f"quantity must be 0 to {QUANTITY_MAX}")
    if wanted.name is not None and (not 1 <= len(wanted.name) <= NAME_MAX or _CONTROL.search(wanted.name)):
        raise HttpError(400, f"name must be 1 to {NAME_MAX} characters without control characters")
    return wanted


def read_key(request: Request) -> str | None:
    """The `Idempotency-Key`, checked; None without one."""
    key = request.header(b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise HttpError(400, "Idempotency-Key must be 1 to 128 visible ASCII characters")
    return key


def stocked(handler: Handler) -> Handler:
    """Turns the store's two failures into 503 (nothing was done) and 504 (not known)."""

    async def handle(request: Request, id: str) -> Reply:
        try:
            return await handler(request, id)
        except StoreAway as error:
            raise unavailable(f"the stock cannot be reached, nothing was done: {error}") from None
        except StoreSilent as error:
            again = "send it again with the same Idempotency-Key"
            raise HttpError(504, f"the stock did not answer, it may have been done; {again}: {error}") from None

    return handle


class ProductApi:
    """The handlers, over a stock."""

    def __init__(self, stock: Stock, trouble: Callable[[], str]) -> None:
        self._stock = stock
        self._trouble = trouble

    def routes(self) -> Routes:
        get, put, every = stocked(self.get), stocked(self.put), stocked(self.all)
        return {
            "/product/{}": {"GET": get, "HEAD": get, "PUT": put},
            "/products": {"GET": every, "HEAD": every},
            "/health": {"GET": self.health, "HEAD": self.health},
        }

    async def get(self, _request: Request, id: str) -> Reply:
        product = await self._stock.get(id) if _ID.fullmatch(id) else None
        if product is None:
            raise no_product(id)
        return Reply(200, _encode(product._asdict()))

    async def put(self, request: Request, id: str) -> Reply:
        key = read_key(request)
        valid = _ID.fullmatch(id)
        if request.body:
            wanted = read_wanted(request.body)
            if not valid:
                raise HttpError(400, f"an id matches {_ID.pattern}")
            status, product = await self._stock.put(id, wanted.name, wanted.quantity, key)
        else:
            status, product = await self._stock.take(id, key) if valid else (404, None)
        if status == 404:
            raise no_product(id)
        if status == 409:
            raise HttpError(409, f"{id} is out of stock")
        if status == 400:
            raise HttpError(400, f"there is no product {id} yet: creating one takes name and quantity")
        if status == 507:
            raise HttpError(507, "the stock has no room for another product")
        if product is None:
            raise HttpError(422, "this Idempotency-Key was used for another request")
        return Reply(status, _encode(product._asdict()))

    async def all(self, _request: Request, _: str) -> Reply:
        return Reply(200, _encode([product._asdict() for product in await self._stock.all()]))

    async def health(self, _request: Request, _: str) -> Reply:
        return health(self._trouble())


def no_product(id: str) -> HttpError:
    return HttpError(404, f"there is no product {id[:64]}")


def health(trouble: str) -> Reply:
    """200 as long as the process answers: restarting it would not bring Redis back."""
    return Reply(200, _encode({"status": "ok", "store": trouble or "ok"}))


def build() -> Service:
    settings = Settings.from_environ("product", 7070)
    store = Store(settings.redis_url, SCRIPTS)
    stock = Stock(store)
    store.greeting = stock.greeting
    return Service(settings, ProductApi(stock, lambda: store.trouble).routes(), [store.run])


if __name__ == "__main__":
    raise SystemExit(run(build))
