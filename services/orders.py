"""The latest orders, in Redis: `{shop}:orders` (ids, newest first) and `{shop}:order` (a hash: id to JSON).

A sale that Redis could not take down at once is kept and written again later, at the latest when the service ends; an
order is written once, however often it is recorded. In memory as in Redis there are the latest `KEEP`: older ones make room.
"""

from collections import deque
from typing import NoReturn

import msgspec
import trio

from services.store import Store, StoreAway, StoreSilent

KEEP = 1000
SHOWN = 100
RECORD_WAIT_S = 1.0
AGAIN_S = 1.0
FLUSH_S = 1.0
FLUSH_AGAIN_S = 0.1

SCRIPTS = {
    # KEYS: list of ids, hash. ARGV: id, JSON, how many to keep.
    "record": """
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('LPUSH', KEYS[1], ARGV[1])
while redis.call('LLEN', KEYS[1]) > tonumber(ARGV[3]) do
  redis.call('HDEL', KEYS[2], redis.call('RPOP', KEYS[1]))
end
return 1
""",
    # KEYS: list of ids, hash. ARGV: how many.
    "latest": """
local ids = redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
if #ids == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(ids))
""",
}


class Order(msgspec.Struct, frozen=True):
    """A purchase that took place. `time` is Unix seconds."""

    order_id: str
    product_id: str
    product: str
    remaining: int
    time: float


_decode = msgspec.json.Decoder(Order).decode
_encode = msgspec.json.Encoder().encode


class Orders:
    """Orders over a store. Reading may raise the store's `StoreAway` or `StoreSilent`; recording does not."""

    def __init__(self, store: Store, prefix: str = "{shop}") -> None:
        self._store = store
        self._keys = [f"{prefix}:orders", f"{prefix}:order"]
        self._unsaved: deque[Order] = deque(maxlen=KEEP)
        self._more = trio.Event()

    async def record(self, order: Order) -> None:
        """Written when it returns, or within a second given to the task that tries again."""
        with trio.move_on_after(RECORD_WAIT_S):
            if await self._written(order):
                return
        self._unsaved.append(order)
        self._more.set()

    async def latest(self) -> list[Order]:
        """The newest first, those not yet written included."""
        rows = await self._store.script("latest", self._keys, [SHOWN])
        written = [_decode(row) for row in rows if row is not None]
        known = {order.order_id for order in written}
        waiting = [order for order in reversed(self._unsaved) if order.order_id not in known]
        return (waiting + written)[:SHOWN]

    async def find(self, order_id: str) -> Order | None:
        for order in self._unsaved:
            if order.order_id == order_id:
                return order
        row = await self._store.read("HGET", self._keys[1], order_id)
        return None if row is None else _decode(row)

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Writes what could not be written at once, until cancelled."""
        task_status.started()
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while self._unsaved:
                if not await self._save_first():
                    await trio.sleep(AGAIN_S)

    async def flush(self) -> str:
        """The last words: write what is left, within `FLUSH_S`. Says what could not be written; empty when all was."""
        with trio.move_on_after(FLUSH_S):
            while self._unsaved:
                if not await self._save_first():
                    await trio.sleep(FLUSH_AGAIN_S)
        left = " ".join(f"{order.order_id} ({order.product_id})" for order in self._unsaved)
        return f"sold, but not written to Redis: {left}" if left else ""

    async def _save_first(self) -> bool:
        order = self._unsaved[0]
        if not await self._written(order):
            return False
        if self._unsaved and self._unsaved[0] is order:
            self._unsaved.popleft()
        return True

    async def _written(self, order: Order) -> bool:
        try:
            await self._store.script("record", self._keys, [order.order_id, _encode(order), KEEP])
        except (StoreAway, StoreSilent):
            return False
        return True
