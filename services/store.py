"""Redis for a trio program: redis-py's blocking client in worker threads, one call at a time in each.

A failed call has the status 503 if nothing was done, or 504 if it may have been done. Nothing is sent twice here: a caller
that repeats a change after a 504 must give it a key, so that the Lua script recognizes the repetition.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import trio

from services.web import HttpError

CONNECT_AFTER_S, CONNECT_TIMEOUT_S, REPLY_TIMEOUT_S, THREADS_MAX = 0.5, 1.0, 2.0, 8


class StoreError(HttpError):
    """A call to Redis failed. The status is 503 if Redis certainly did nothing, else 504."""


class Store:
    """A client of the Redis at `url`. It connects at the first call."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.error = "not connected yet"  # empty while Redis can be used
        self._client: Any = None
        self._threads = trio.CapacityLimiter(THREADS_MAX)

    async def run(self) -> None:
        """Connect to Redis shortly after the start, so that the first request need not wait for it."""
        # After the registration of this service and of those that wait for it: importing redis-py takes CPU time.
        await trio.sleep(CONNECT_AFTER_S)
        with suppress(StoreError):  # `error` has the reason, which /health shows
            await self.script("return 1")

    async def script(self, source: str, *args: str | bytes, keys: Sequence[str] = ()) -> Any:
        """Run a Lua script in a thread that is abandoned on cancel; return its reply, or raise StoreError."""
        work = partial(self._script, source, keys, args)
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    def _script(self, source: str, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        import redis  # here: it takes as long as all other imports together

        status, failure = 503, "Redis cannot be reached, nothing was done"
        try:
            client = self._client = self._client or open_redis(self.url)
            # The pool connects where it has no live connection: what fails until here was never sent.
            client.connection_pool.release(client.connection_pool.get_connection())
            status, failure = 504, "Redis did not answer, it may be done; repeat it with the same Idempotency-Key"
            reply = client.register_script(source)(keys, args)
        except (redis.RedisError, OSError, ValueError) as error:
            if isinstance(error, redis.ResponseError | redis.BusyLoadingError):
                status, failure = 503, "Redis refuses, nothing was done"
            self.error = f"{failure}: {error}"
            raise StoreError(status, self.error) from error
        self.error = ""
        return reply


def open_redis(url: str) -> Any:
    """Return a `redis.Redis` for `redis://`, `rediss://`, `unix://` or, for the master that Sentinels name,
    `redis+sentinel://[[user]:password@]host[:port],…/service/db?sentinel_password=…`. Raise ValueError for another URL.
    """
    import redis.sentinel
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # No retries: after one, a refusal would not mean any more that nothing was done.
    options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "decode_responses": True, "protocol": 2}
    options |= {"socket_timeout": REPLY_TIMEOUT_S, "socket_connect_timeout": CONNECT_TIMEOUT_S}
    scheme, _, rest = url.partition("://")
    if scheme != "redis+sentinel":
        return redis.Redis.from_url(url, **options)
    # Not with urlsplit, which refuses a list of IPv6 addresses from Python 3.14 on.
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    login, _, hosts = netloc.rpartition("@")
    user, _, password = login.partition(":") if ":" in login else ("", "", login)
    service, _, db = path.partition("/")
    account = {"username": unquote(user) or None, "password": unquote(password) or None, "db": int(db.strip("/") or 0)}
    given = {key.removeprefix("sentinel_"): value for key, value in parse_qsl(query)}
    own = options | {key: given[key] for key in ("username", "password") if key in given}
    places = [urlsplit(f"//{host}") for host in hosts.split(",")]
    sentinels = [(place.hostname or "127.0.0.1", place.port or 26379) for place in places]
    manager: Any = redis.sentinel.Sentinel(sentinels, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
    return manager.master_for(unquote(service) or "mymaster", **options, **account)
