"""The tokens that were made with `minikube registry token create`: in memory, and as hashes in Redis.

All registries on one Redis share them: each reads them every second. Redis down: the tokens of the last reading go on. Redis
emptied: they are put back. It refuses to keep a token itself: only its SHA-256, which is safe for 256 random bits.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio
from msgspec import Struct

from minikube.errors import MinikubeError, NotFound
from minikube.registry.access.rights import Rights, parse_rights

if TYPE_CHECKING:
    from minikube.registry.redis.shared_hash import SharedHash

T = TypeVar("T")

LOGGER = logging.getLogger("minikube.registry")

REFRESH_S = 1.0
"""A revoked token is refused by every registry after this time."""

MAX_TOKENS = 1_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MARK = "#"
"""A field that is in Redis as soon as a first token was made: without it, Redis has lost the tokens."""


class StoredToken(Struct, frozen=True):
    """A token's name and rights, its SHA-256 in hex, and when it was made (Unix seconds)."""

    name: str
    hash: str
    rights: Rights
    created: float


class _StoredForm(Struct, frozen=True):
    """The JSON of one token in Redis."""

    hash: str
    rights: list[str]
    created: float


class TokenTable:
    """The tokens of all registries on one Redis. Belongs to the trio thread; Redis is used in worker threads."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self._redis_url, self._prefix = redis_url, prefix
        self._stored: SharedHash | None = None
        self._by_hash: dict[str, StoredToken] = {}

    def find(self, token: str) -> StoredToken | None:
        """Return the stored token; None for an unknown or revoked one."""
        return self._by_hash.get(_hash(token))

    def is_valid(self, hash: str) -> bool:
        """Return whether the token with this hash is not revoked."""
        return hash in self._by_hash

    def list(self) -> "list[StoredToken]":
        """Return all tokens in the order of their names."""
        return sorted(self._by_hash.values(), key=lambda stored: stored.name)

    async def create(self, name: str, rights: Rights) -> tuple[str, str]:
        """Make and store a token; return its name (a new one for an empty `name`) and the token.

        Raises MinikubeError for a name that exists, Unavailable.
        """
        name = name or f"token-{secrets.token_hex(3)}"
        if not _NAME.fullmatch(name):
            raise MinikubeError(f"{name[:80]!r}: expected a name of 1 to 64 of A-Z a-z 0-9 . _ -")
        await self.refresh()
        if len(self._by_hash) >= MAX_TOKENS:
            raise MinikubeError(f"{MAX_TOKENS} tokens are the most — revoke some: minikube registry token revoke NAME")
        token = secrets.token_hex(32)
        stored = StoredToken(name, _hash(token), rights, time.time())
        if not await self._run(lambda redis: redis.put_new(name, _encode(stored))):
            raise MinikubeError(f"{name}: a token has this name already — revoke it, or choose another name")
        await self._run(lambda redis: redis.put({_MARK: "1"}))
        self._by_hash[stored.hash] = stored
        return name, token

    async def revoke(self, name: str) -> None:
        """Remove a token. Raises NotFound, Unavailable."""
        await self.refresh()
        if name == _MARK or not await self._run(lambda redis: redis.remove(name)):
            raise NotFound(f"{name[:80]}: no token has this name")
        self._by_hash = {hash: stored for hash, stored in self._by_hash.items() if stored.name != name}

    async def refresh(self) -> None:
        """Read the tokens from Redis; write them again if Redis has lost them. Raises Unavailable."""
        fields = await self._run(lambda redis: redis.read())
        if _MARK not in fields and self._by_hash:
            LOGGER.warning("store: Redis had lost the tokens; %d are put back", len(self._by_hash))
            lost = {stored.name: _encode(stored) for stored in self._by_hash.values()}
            await self._run(lambda redis: redis.put({**lost, _MARK: "1"}))
            return
        found = [stored for name, text in fields.items() if name != _MARK and (stored := _decode(name, text))]
        self._by_hash = {stored.hash: stored for stored in found}

    async def _run(self, command: "Callable[[SharedHash], T]") -> T:
        return await trio.to_thread.run_sync(self._run_in_thread, command, abandon_on_cancel=True)

    def _run_in_thread(self, command: "Callable[[SharedHash], T]") -> T:
        from minikube.registry.redis.shared_hash import SharedHash  # late: redis-py takes 0.15 s to import

        if self._stored is None:
            self._stored = SharedHash(self._redis_url, self._prefix, "tokens")
        return command(self._stored)


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _encode(stored: StoredToken) -> str:
    return msgspec.json.encode(_StoredForm(stored.hash, stored.rights.texts(), stored.created)).decode()


def _decode(name: str, text: str) -> StoredToken | None:
    """Return the stored token; None for a value that another program or version wrote: it gives no rights."""
    try:
        form = msgspec.json.decode(text, type=_StoredForm)
        return StoredToken(name, form.hash, parse_rights(form.rights), form.created)
    except ValueError as error:
        LOGGER.warning("store: token %s is unreadable and gives no rights: %s", name[:80], error)
        return None
