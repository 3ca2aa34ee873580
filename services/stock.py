"""The stock: what `product` keeps in Redis. Every change is one Lua script, so no number of replicas oversells.

Keys, all in one cluster slot: `{shop}:product:ID` (a hash: name, quantity), `{shop}:products` (the set of ids) and
`{shop}:reply:KEY` (the reply to an `Idempotency-Key`, written together with the change it answers, and kept for
`REMEMBER_S`). A change always has a key, the caller's or one of our own: that is what makes it safe to repeat.

Products are never deleted, so a product of the first stock that is absent means an empty Redis: it is written again.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

from services.store import Command, Store

REMEMBER_S = 600
REMEMBER_OWN_S = 60
QUANTITY_MAX = 1_000_000_000
NAME_MAX = 200
PRODUCTS_MAX = 10_000

FIRST_STOCK = (("aaa", "apple", 10), ("bbb", "banana", 7))

_REMEMBERED = """
local seen = redis.call('HMGET', KEYS[1], 'asked', 'status', 'name', 'quantity')
if seen[1] then
  if seen[1] ~= ARGV[1] then return {422} end
  return {tonumber(seen[2]), seen[3], seen[4]}
end
local function remember(status, name, quantity)
  redis.call('HSET', KEYS[1], 'asked', ARGV[1], 'status', status, 'name', name, 'quantity', quantity)
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  return {status, name, quantity}
end
"""

SCRIPTS = {
    # KEYS: reply, product. ARGV: what is asked, seconds to remember the reply.
    "take": _REMEMBERED
    + """
local product = redis.call('HMGET', KEYS[2], 'name', 'quantity')
if not product[2] then return {404} end
if tonumber(product[2]) < 1 then return {409, product[1], product[2]} end
return remember(200, product[1], redis.call('HINCRBY', KEYS[2], 'quantity', -1))
""",
    # KEYS: reply, product, ids. ARGV: what is asked, seconds, id, name, quantity ("" leaves as it is), most products.
    "put": _REMEMBERED
    + """
local product = redis.call('HMGET', KEYS[2], 'name', 'quantity')
local name, quantity, status = ARGV[4], ARGV[5], 200
if product[2] then
  if name == '' then name = product[1] end
  if quantity == '' then quantity = product[2] end
else
  if name == '' or quantity == '' then return {400} end
  if redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[6]) then return {507} end
  status = 201
end
redis.call('HSET', KEYS[2], 'name', name, 'quantity', quantity)
redis.call('SADD', KEYS[3], ARGV[3])
return remember(status, name, quantity)
""",
    # KEYS: ids, product… ARGV: id, name, quantity for each product. Writes what is absent only.
    "seed": """
for i = 2, #KEYS do
  local at = (i - 2) * 3
  if redis.call('EXISTS', KEYS[i]) == 0 then
    redis.call('HSET', KEYS[i], 'name', ARGV[at + 2], 'quantity', ARGV[at + 3])
  end
  redis.call('SADD', KEYS[1], ARGV[at + 1])
end
return #KEYS - 1
""",
    # KEYS: ids. ARGV: prefix of a product's key (a single slot, see above). All products by id.
    "list": """
local ids, all = redis.call('SMEMBERS', KEYS[1]), {}
table.sort(ids)
for i, id in ipairs(ids) do
  local product = redis.call('HMGET', ARGV[1] .. id, 'name', 'quantity')
  if product[2] then all[#all + 1] = {id, product[1], product[2]} end
end
return all
""",
}


class Product(NamedTuple):
    """One product as the API shows it."""

    id: str
    name: str
    quantity: int


class Outcome(NamedTuple):
    """What a change came to: an HTTP status, and the product where there is one."""

    status: int
    product: Product | None = None


class Stock:
    """Products over a store. Every method may raise the store's `StoreAway` or `StoreSilent`."""

    def __init__(
        self, store: Store, prefix: str = "{shop}", first: Sequence[tuple[str, str, int]] = FIRST_STOCK
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._first = first
        self._first_ids = {id for id, _name, _quantity in first}

    def greeting(self, store: Store) -> tuple[Command, ...]:
        """What a new connection begins with: the first stock, where absent."""
        return (store.script_command("seed", *self._seed()),)

    async def get(self, id: str) -> Product | None:
        found = await self._store.read("HMGET", self._key(id), "name", "quantity")
        if found[1] is None and id in self._first_ids:
            await self._store.script("seed", *self._seed())
            found = await self._store.read("HMGET", self._key(id), "name", "quantity")
        return None if found[1] is None else _product(id, found)

    async def all(self) -> list[Product]:
        rows = await self._store.script("list", [self._ids()], [f"{self._prefix}:product:"])
        return [_product(row[0].decode(), row[1:]) for row in rows]

    async def take(self, id: str, key: str | None) -> Outcome:
        """One less: 200, 404, 409 (none left), or 422 (the key was used for something else)."""
        outcome = await self._change("take", id, key, f"take {id}")
        if outcome.status == 404 and id in self._first_ids:
            await self._store.script("seed", *self._seed())
            outcome = await self._change("take", id, key, f"take {id}")
        return outcome

    async def put(self, id: str, name: str | None, quantity: int | None, key: str | None) -> Outcome:
        """Set what is given: 200, 201 (created), 400 (absent, and not both are given), 422, or 507 (full)."""
        given = "" if quantity is None else str(quantity)
        return await self._change("put", id, key, f"put {id} {given} {name or ''}", id, name or "", given, PRODUCTS_MAX)

    async def _change(self, script: str, id: str, key: str | None, asked: str, *more: str | int) -> Outcome:
        remembered = f"{self._prefix}:reply:{key or uuid4().hex}"
        seconds = REMEMBER_S if key else REMEMBER_OWN_S
        asked = sha256(asked.encode()).hexdigest()[:16]
        keys = [remembered, self._key(id), self._ids()]
        reply = await self._store.script(script, keys, [asked, seconds, *more])
        return Outcome(reply[0], _product(id, reply[1:]) if len(reply) > 1 else None)

    def _seed(self) -> tuple[list[str], list[str | bytes | int]]:
        keys = [self._ids(), *(self._key(id) for id, _name, _quantity in self._first)]
        return keys, [word for row in self._first for word in row]

    def _key(self, id: str) -> str:
        return f"{self._prefix}:product:{id}"

    def _ids(self) -> str:
        return f"{self._prefix}:products"


def _product(id: str, fields: Any) -> Product:
    return Product(id, fields[0].decode(), int(fields[1]))
