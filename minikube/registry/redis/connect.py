"""From a Redis URL to a connection of redis-py (floor 3, for worker threads: it blocks, each step within a time-out).

`redis://`, `rediss://` and `unix://` as redis-py takes them, with user, password, db and the files of TLS in the query but
nothing that would change our time-outs or what answers look like; and
`redis+sentinel://[user:password@]host:port,host:port/service[/db][?sentinel_password=…]`. Nothing is retried here:
a retried write is the caller's decision. Import it late: redis-py costs 0.15 s.
"""

from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from minikube.errors import UsageError

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
    """What we use of redis-py's connection; the library's own is typed as `Any`."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_commands(self, commands: Any) -> list[bytes]: ...
    def send_packed_command(self, command: Any, check_health: bool = ...) -> None: ...
    def read_response(self) -> Any: ...


class RedisConnector:
    """Opens connections to whatever the URL names now."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sentinel: tuple[Any, str, int] | None = None
        self._at: tuple[str, int] | None = None
        self._password: dict[str, Any] = {}
        if url.startswith("redis+sentinel://"):
            self._sentinel = self._parse_sentinel(url)
        else:
            _check(url)

    def open(self, timeout: float) -> RedisConnection:
        """A connected wire whose every receive ends within `timeout`. Raises redis-py's errors or OSError."""
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "health_check_interval": 0,
        }
        wire: Any
        if self._sentinel is None:
            pool = ConnectionPool.from_url(self._url, **options)
            wire = pool.make_connection()
        else:
            sentinel, service, db = self._sentinel
            self._at = sentinel.discover_master(service)
            host, port = self._at
            wire = Connection(host=host, port=port, db=db, **self._password, **options)  # type: ignore[no-untyped-call]
        wire.connect()
        return wire  # type: ignore[no-any-return]

    def moved(self) -> bool:
        """Whether the sentinels name another master by now than the one last opened: leave the old one."""
        if self._sentinel is None:
            return False
        sentinel, service, _ = self._sentinel
        try:
            return bool(sentinel.discover_master(service) != self._at)
        except (RedisError, OSError):
            return False

    def _parse_sentinel(self, url: str) -> tuple[Any, str, int]:
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        path = [unquote(piece) for piece in parts.path.split("/") if piece]
        if not hosts or not path or len(path) > 2 or (len(path) == 2 and not path[1].isdigit()):
            raise UsageError("redis url: expected redis+sentinel://host:port,host:port/service/db")
        addresses = []
        for one in hosts.split(","):
            host, colon, port = one.rpartition(":") if not one.endswith("]") else (one, "", "")
            if colon and not port.isdigit():
                raise UsageError(f"redis url: {one!r} is no host:port of a sentinel")
            addresses.append(((host if colon else one).strip("[]"), int(port) if colon else SENTINEL_PORT))
        user, colon, password = credentials.partition(":")
        if not colon:
            user, password = "", user
        if user:
            self._password["username"] = unquote(user)
        if password:
            self._password["password"] = unquote(password)
        query = _options(parts.query, _SENTINEL_OPTIONS)
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
    parts = urlsplit(url)
    for name in _options(parts.query, (*_OPTIONS, *_TLS_OPTIONS)):
        if name in _TLS_OPTIONS and parts.scheme != "rediss":
            raise UsageError(f"redis url: {name} is for rediss://, not for {parts.scheme}://")
    try:
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError) as error:
        raise UsageError(f"redis url: {error}") from None


def _options(query: str, known: tuple[str, ...]) -> dict[str, str]:
    """The URL's parameters. One that we do not know might override what we say about time-outs, or be none at all."""
    given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name in given:
        if name not in known:
            raise UsageError(f"redis url: unknown parameter {name[:80]!r}, expected {', '.join(known)}")
    return given
