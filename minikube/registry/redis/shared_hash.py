"""One hash in Redis, on a connection of its own, for what must not wait behind the queue of writes. Blocking, for a thread.

It refuses to know what the fields mean, and to repeat a command more than once. Import it late: redis-py takes 0.15 s.
"""

import threading

from redis.exceptions import RedisError

from minikube.errors import Unavailable
from minikube.registry.redis.codec import Keys
from minikube.registry.redis.commands import RedisCommands
from minikube.registry.redis.connect import UNREADABLE, RedisConnector
from minikube.registry.redis.replies import one_line

TIMEOUT_S = 1.5
"""The time-out for one reply of Redis."""


class SharedHash:
    """The fields of one hash, as text. Threads may share it: they take turns."""

    def __init__(self, url: str, prefix: str, name: str) -> None:
        self._connector, self._keys = RedisConnector(url), Keys(prefix)
        self._key = f"{prefix}:{name}"
        self._lock = threading.Lock()
        self._connection: RedisCommands | None = None

    def read(self) -> dict[str, str]:
        """Return all fields with their values. Raises Unavailable."""
        try:
            parts = [part.decode("utf-8", "replace") for part in self._run("HGETALL")]
            return dict(zip(parts[::2], parts[1::2], strict=True))
        except UNREADABLE as error:
            raise Unavailable(f"store unavailable: {self._key}: the reply cannot be read: {error}") from None

    def put(self, fields: dict[str, str]) -> None:
        """Set fields. Raises Unavailable."""
        self._run("HSET", *[text for item in fields.items() for text in item])

    def put_new(self, field: str, value: str) -> bool:
        """Set a field that does not exist yet; return False if it does. Raises Unavailable."""
        return bool(self._run("HSETNX", field, value))

    def remove(self, field: str) -> bool:
        """Remove a field; return False if it does not exist. Raises Unavailable."""
        return bool(self._run("HDEL", field))

    def _run(self, command: str, *arguments: str) -> "list[bytes]":
        with self._lock:
            # A second attempt, because the connection may have been lost since the last command. A repeated HSETNX or HDEL
            # may find its own effect: the caller then reports a conflict where there was none.
            try:
                return self._run_once(command, arguments)
            except (RedisError, OSError):
                self._disconnect()
            try:
                return self._run_once(command, arguments)
            except (RedisError, OSError) as error:
                self._disconnect()
                reason = one_line(error)
                if reason.startswith("WRONGTYPE"):
                    reason = f"another program has written it, it is no hash — remove it: redis-cli DEL '{self._key}'"
                raise Unavailable(f"store unavailable: {self._key}: {reason}") from None

    def _run_once(self, command: str, arguments: tuple[str, ...]) -> "list[bytes]":
        if self._connection is None:
            self._connection = RedisCommands(self._connector.open(TIMEOUT_S), self._keys)
        reply: list[bytes] = self._connection.execute(command, self._key, *arguments)
        return reply

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
