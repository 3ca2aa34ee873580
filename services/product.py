"""The product service: products and the quantity of each in stock. `python -m services.product`.

    GET /product/{id}    200 {"id", "name", "quantity"}, 404
    PUT /product/{id}    without a body takes one: 200, 404, 409 when none is left
                         with {"name"?, "quantity"?} sets them: 200, 201 created, 400, 507 when there are too many
    GET /products        all products
    GET /health          200 while the process serves; "store" is "ok", or why Redis cannot be used

A PUT with an `Idempotency-Key` may be sent again: the second time it gets the first reply and changes nothing; the same
key for another request is 422. Without Redis: 503 when nothing was done, 504 when that is not known.
"""

import re
from hashlib import sha256
from typing import Annotated, Any

import msgspec

from services.app import Task, run
from services.scripts import STOCK
from services.store import Store
from services.web import HttpError, Reply, Request, Routes

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z"


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PUT request: the values to set."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=PRINTABLE)] | None = None
    quantity: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] | None = None


class ProductApi:
    """The handlers of the product service's requests. They read and change the stock in Redis."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, request: Request) -> Reply:
        return _reply(await self._store.script(STOCK, "get", request.id))

    async def all(self, _request: Request) -> Reply:
        return 200, [_reply(row)[1] for row in await self._store.script(STOCK, "list")]

    async def put(self, request: Request) -> Reply:
        verb, change = "take", []
        if request.body:
            if not ID.fullmatch(request.id):
                raise HttpError(400, f"an id matches {ID.pattern}")
            wanted = read_change(request.body)
            verb, change = "put", [wanted.name or "", "" if wanted.quantity is None else str(wanted.quantity)]
        digest = sha256(repr((verb, request.id, change)).encode()).hexdigest()
        memory = [f"{{shop}}:reply:{key}"] if (key := request.key()) else []
        return _reply(await self._store.script(STOCK, verb, request.id, digest, *change, keys=memory))


def read_change(body: bytes) -> Change:
    """Decode the body of a PUT request. Raise HttpError 400 if it is invalid or sets nothing."""
    try:
        change = msgspec.json.decode(body, type=Change)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError(400, f'the body must be {{"name"?, "quantity"?}}: {error}') from None
    if change == Change():
        raise HttpError(400, "nothing to set: give name, quantity, or no body at all to take one")
    return change


def _reply(row: list[Any]) -> Reply:
    """Return the reply for a row that the Redis script returned. Raise HttpError if the row is an error."""
    if row[0] >= 400:
        raise HttpError(row[0], row[1])
    return row[0], {"id": row[1], "name": row[2], "quantity": int(row[3])}


def build(store: Store) -> tuple[Routes, list[Task]]:
    api = ProductApi(store)
    product = {"GET": api.get, "HEAD": api.get, "PUT": api.put}
    return {"/product/{}": product, "/products": {"GET": api.all, "HEAD": api.all}}, []


if __name__ == "__main__":
    run("product", 7070, build)
