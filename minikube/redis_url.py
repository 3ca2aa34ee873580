"""The URL of a Redis in parts, checked strictly. Pure; it imports nothing of the project.

    redis://[user:password@]host[:port][/db][?…]     rediss:// for TLS
    unix://[user:password@]/path[?db=…]
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db][?…]

It does not use `urlsplit`, which raises for some of these (a list of IPv6 hosts, from Python 3.14 on) and takes others that
no client can use. Messages contain no part of the URL: a misplaced character may make a password look like a host.
"""

import ipaddress
import re
from urllib.parse import parse_qs, unquote

from msgspec import Struct
from msgspec.structs import replace

REDIS_PORT = 6379
SENTINEL_PORT = 26379

FORM = "redis://host:port/db, rediss://…, unix:///path or redis+sentinel://host:port,host:port/service/db"

_TLS_OPTIONS = (
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"),
    *("ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers"),
)
_ACCOUNT_OPTIONS = ("db", "username", "password")
OPTIONS = {
    "redis": _ACCOUNT_OPTIONS,
    "rediss": (*_ACCOUNT_OPTIONS, *_TLS_OPTIONS),
    "unix": _ACCOUNT_OPTIONS,
    "redis+sentinel": ("sentinel_username", "sentinel_password"),
}
"""The parameters of each scheme. Others would change time-outs or the form of replies."""

_HOST = re.compile(r"[A-Za-z0-9._-]+")


class RedisUrl(Struct, frozen=True):
    """The parts of a URL, decoded. A host without a port has the default port of its scheme."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    """One; with Sentinel, the sentinels; none for a socket."""
    path: str = ""
    """The path of a socket."""
    service: str = ""
    """The name of Sentinel's master."""
    db: int = 0
    username: str = ""
    password: str = ""
    options: dict[str, str] = {}
    """The parameters after the question mark."""


def parse_redis_url(text: str) -> RedisUrl:
    """Return the parts of a Redis URL. Raises ValueError whose text says what was expected."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in OPTIONS or not rest or re.search(r"[\s\x00-\x1f]", text):
        raise ValueError(f"expected {FORM}")
    if "#" in rest:
        raise ValueError("expected no #, which is %23 in a password")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    options = _options(scheme, query)
    login, _, hosts = authority.rpartition("@")
    if set(login) & set("[]"):
        # redis-py reads the URL with `urlsplit`, which takes them for an IPv6 address.
        raise ValueError("expected no [ or ] in a user or a password, which are %5B and %5D there")
    username, colon, password = login.partition(":")
    if not colon and scheme == "redis+sentinel":
        username, password = "", username
    parts = RedisUrl(scheme, username=unquote(username), password=unquote(password), options=options)
    match scheme:
        case "unix":
            return _socket(parts, hosts, unquote(slash + path))
        case "redis+sentinel":
            return _sentinels(parts, hosts, path)
        case _:
            return _server(parts, hosts, path)


def _socket(parts: RedisUrl, host: str, path: str) -> RedisUrl:
    if host or len(path) < 2:
        raise ValueError("expected the path of a socket, as in unix:///run/redis.sock")
    return replace(parts, path=path, db=_database(parts.options.get("db", "0")))


def _server(parts: RedisUrl, host: str, path: str) -> RedisUrl:
    return replace(parts, hosts=(_host(host, REDIS_PORT),), db=_database(parts.options.get("db") or path or "0"))


def _sentinels(parts: RedisUrl, hosts: str, path: str) -> RedisUrl:
    service, _, database = path.rstrip("/").partition("/")
    if not hosts or not service:
        raise ValueError("expected redis+sentinel://host:port,host:port/service/db")
    places = tuple(_host(host, SENTINEL_PORT) for host in hosts.split(","))
    return replace(parts, hosts=places, service=unquote(service), db=_database(database or "0"))


def _host(text: str, default_port: int) -> tuple[str, int]:
    """Return the host, without brackets, and the port of `host`, `host:port` or `[::1]:port`."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            ipaddress.IPv6Address(unquote(host))
        except ValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("expected an IPv6 address in brackets, as in redis://[::1]:6379/0")
        port = rest[1:] if rest else str(default_port)
    else:
        host, colon, port = text.partition(":")
        port = port if colon else str(default_port)
        if not _HOST.fullmatch(host or "localhost"):
            raise ValueError("expected a host name or an address after :// or @ (in a password, / is %2F and @ is %40)")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65_535):
        raise ValueError("expected a port of 1 to 65535 after the host (in a password, / is %2F)")
    return unquote(host) or "localhost", int(port)


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ValueError("expected the number of a database after the host, as in redis://host:6379/0")
    return int(text)


def _options(scheme: str, query: str) -> dict[str, str]:
    known = OPTIONS[scheme]
    given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name in given:
        if name in _TLS_OPTIONS and name not in known:
            raise ValueError(f"{name} is for rediss://, not for {scheme}://")
        if name not in known and "@" in query:
            # No parameter, but the end of a password, which has to stay unsaid.
            raise ValueError("expected a host before the ? (in a password, ? is %3F)")
        if name not in known:
            raise ValueError(f"unknown parameter {name[:80]!r}, expected {', '.join(known)}")
    if given.get("ssl_cert_reqs", "none") not in ("none", "optional", "required"):
        raise ValueError('expected "none", "optional" or "required" for ssl_cert_reqs')
    return given
