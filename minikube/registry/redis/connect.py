"""A Redis URL to a connection of redis-py. Blocking, for a worker thread: each step ends within a time-out.

`redis://`, `rediss://` and `unix://` are as redis-py takes them, with user, password, db and the files of TLS in the query.
Sentinel is `redis+sentinel://[user:password@]host:port,host:port/service[/db][?sentinel_password=…]`.
It refuses parameters that would change time-outs or the form of replies, and retries nothing: whether a write may be
sent again is the caller's decision. Import it late: redis-py takes 0.15 s.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from redis import Connection, ConnectionPool, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from minikube.errors import UsageError
from minikube.redis_url import RedisUrl, parse_redis_url

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_S = 1.0
SENTINEL_TIMEOUT_S = 0.5


class RedisConnection(Protocol):
    """The methods of redis-py's `Connection` that the registry uses; the library types them as `Any`."""

    # They are public and documented, but below redis-py's commands: pyproject.toml pins the major version for them.

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_commands(self, commands: Any) -> list[bytes]: ...
    def send_packed_command(self, command: Any, check_health: bool = ...) -> None: ...
    def read_response(self) -> Any: ...


UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError, MemoryError)
"""What redis-py, and the code that takes a reply apart, raise for bytes that are no reply of Redis."""


def unreadable_as_lost(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function raise redis-py's ConnectionError for a reply that cannot be read: its connection is of no use any more."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except UNREADABLE as error:
            raise RedisConnectionError(
                f"a reply cannot be read, is this a Redis? ({type(error).__name__}: {error})"
            ) from error

    return wrapper


class RedisConnector:
    """Opens connections to the Redis that the URL names; with Sentinel, to the present master."""

    def __init__(self, url: str) -> None:
        """Check the URL. Raises UsageError for one that cannot be used."""
        self._url = url
        self._sentinel: tuple[Any, str, int] | None = None
        self._master: tuple[str, int] | None = None
        self._credentials: dict[str, str] = {}
        try:
            parts = parse_redis_url(url)
            if parts.scheme == "redis+sentinel":
                self._sentinel = self._open_sentinel(parts)
            else:
                ConnectionPool.from_url(url).make_connection()  # it is not opened: this only checks
        except (ValueError, TypeError, RedisError) as error:
            raise UsageError(f"redis url: {error}") from None

    @unreadable_as_lost
    def open(self, timeout: float) -> RedisConnection:
        """Return a connection on which every receive ends within `timeout` seconds. Raises RedisError or OSError."""
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),  # redis-py would send a write again that Redis may have done
            "protocol": 2,  # replies are read as flat lists
            "health_check_interval": 0,  # no PING between pipelined commands
        }
        connection: Any
        if self._sentinel is None:
            pool = ConnectionPool.from_url(self._url, **options)
            connection = pool.make_connection()
        else:
            sentinel, service, db = self._sentinel
            self._master = self._discover_master(sentinel, service)
            host, port = self._master
            connection = Connection(host=host, port=port, db=db, **self._credentials, **options)  # type: ignore[no-untyped-call]
        connection.connect()
        return connection  # type: ignore[no-any-return]

    @unreadable_as_lost
    def has_master_changed(self) -> bool:
        """Return whether the sentinels name another master by now than the one that was connected to last."""
        if self._sentinel is None:
            return False
        sentinel, service, _ = self._sentinel
        try:
            return bool(sentinel.discover_master(service) != self._master)
        except (RedisError, OSError):
            return False

    def _discover_master(self, sentinel: Any, service: str) -> tuple[str, int]:
        """Return the address of the master that the sentinels name. Raises MasterNotFoundError, or OSError."""
        try:
            host, port = sentinel.discover_master(service)
        except MasterNotFoundError as error:
            # The client's own text is the representation of its objects, one for each sentinel that it could not ask.
            silent = str(error).count("<redis.client.Redis(")
            text = f"the sentinels know no master {service!r} that is up"
            if silent >= len(sentinel.sentinels):
                text = f"no sentinel of the master {service!r} answers"
            raise MasterNotFoundError(text) from None
        return str(host), int(port)

    def _open_sentinel(self, parts: RedisUrl) -> tuple[Any, str, int]:
        """Return the sentinels, the service and the number of the database; keep user and password."""
        account = {"username": parts.username, "password": parts.password}
        self._credentials = {name: value for name, value in account.items() if value}
        sentinel_options: dict[str, Any] = {
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        sentinel_options |= {name.removeprefix("sentinel_"): value for name, value in parts.options.items()}
        sentinel = Sentinel(list(parts.hosts), sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        return sentinel, parts.service, parts.db
