"""A Redis URL to a connection of redis-py. Blocking, for a worker thread: each step ends within a time-out.

`redis://`, `rediss://` and `unix://` are as redis-py takes them, with user, password, db and the files of TLS in the query.
Sentinel is `redis+sentinel://[user:password@]host:port,host:port/service[/db][?sentinel_password=…]`.
It refuses parameters that would change time-outs or the form of replies, and retries nothing: whether a write may be
sent again is the caller's decision. Import it late: redis-py takes 0.15 s.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from redis import Connection, ConnectionPool, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from minikube.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_S = 1.0
SENTINEL_TIMEOUT_S = 0.5
SENTINEL_PORT = 26379

_OPTIONS = ("db", "username", "password")
_TLS_OPTIONS = (
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"),
    *("ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers"),
)
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


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
        if url.startswith("redis+sentinel://"):
            self._sentinel = self._parse_sentinel(url)
        else:
            _check(url)

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
            self._master = sentinel.discover_master(service)
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

    def _parse_sentinel(self, url: str) -> tuple[Any, str, int]:
        """Return the sentinels, the service and the number of the database; keep user and password."""
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        path = [unquote(piece) for piece in parts.path.split("/") if piece]
        if not hosts or not path or len(path) > 2 or (len(path) == 2 and not path[1].isdigit()):
            raise UsageError("redis url: expected redis+sentinel://host:port,host:port/service/db")
        addresses = []
        for item in hosts.split(","):
            host, colon, port = item.rpartition(":") if not item.endswith("]") else (item, "", "")
            if colon and not port.isdigit():
                raise UsageError(f"redis url: {item!r} is no host:port of a sentinel")
            addresses.append(((host if colon else item).strip("[]"), int(port) if colon else SENTINEL_PORT))
        user, colon, password = credentials.partition(":")
        if not colon:
            user, password = "", user
        if user:
            self._credentials["username"] = unquote(user)
        if password:
            self._credentials["password"] = unquote(password)
        query = _query_options(parts.query, _SENTINEL_OPTIONS)
        sentinel_options: dict[str, Any] = {
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        for key in ("username", "password"):
            if f"sentinel_{key}" in query:
                sentinel_options[key] = query[f"sentinel_{key}"]
        sentinel = Sentinel(addresses, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        return sentinel, path[0], int(path[1]) if len(path) == 2 else 0


def _check(url: str) -> None:
    """Raise UsageError unless redis-py can make a connection from the URL (it is not opened)."""
    parts = urlsplit(url)
    for name in _query_options(parts.query, (*_OPTIONS, *_TLS_OPTIONS)):
        if name in _TLS_OPTIONS and parts.scheme != "rediss":
            raise UsageError(f"redis url: {name} is for rediss://, not for {parts.scheme}://")
    try:
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError) as error:
        raise UsageError(f"redis url: {error}") from None


def _query_options(query: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the URL's parameters. Raises UsageError for an unknown one: redis-py would pass it to the connection."""
    given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name in given:
        if name not in known:
            raise UsageError(f"redis url: unknown parameter {name[:80]!r}, expected {', '.join(known)}")
    return given
