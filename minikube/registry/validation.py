"""Check the parameters of RPC calls and turn them into values and records. Pure.

Parameters come by position, by name, or as one object by position: Go's `net/rpc/jsonrpc` sends one value only.
Everything wrong raises `RpcError` -32602 that names the field, what was expected and what came. The module refuses to
resolve host names, except `localhost`: a lookup would wait and may change.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from minikube.addresses import split_host_port
from minikube.durations import parse_duration
from minikube.health.refused_addresses import is_no_host, parse_old_ipv4, refusal
from minikube.health.state import ProbeSettings
from minikube.jsonrpc.messages import INVALID_PARAMS, Params, RpcError
from minikube.model import NAME_PATTERN, Address, CheckState, Instance, Registration, normalize_host
from minikube.registry.catalog.catalog import ALL_NAMES
from minikube.registry.catalog.records import Record

_NAME = re.compile(NAME_PATTERN)
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_REGISTRATION_FIELDS = {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(Registration)}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
"""RFC 1123, section 2.1, and `_`, which the names of containers may have."""

MAX_TAGS = 64
MAX_META = 64

T = TypeVar("T")


def invalid(text: str) -> RpcError:
    """Return the error for a caller's wrong parameters."""
    return RpcError(INVALID_PARAMS, f"invalid params: {text}")


def named_params(params: Params) -> dict[str, Any] | None:
    """Return the parameters given by name, as the params or as the one object in them; None if they are by position."""
    if isinstance(params, list) and len(params) == 1 and isinstance(params[0], dict):
        return params[0]
    return params if isinstance(params, dict) else None


def arguments(params: Params, *names: str, required: int = 0) -> list[Any]:
    """Return the values of `names` in order, None for those left out. The first `required` must be given.

    Names are case-insensitive, as in Go's decoder; `Uuid` is another name of `Id`.
    """
    if (by_name := named_params(params)) is not None:
        known = [name.lower() for name in names]
        given: dict[str, Any] = {}
        for key, value in by_name.items():
            name = str(key).lower()
            if name == "uuid" and "id" in known:
                name = "id"
            if name not in known:
                raise invalid(f"unknown name {str(key)[:80]!r}, expected {', '.join(filter(None, names)) or 'none'}")
            if name in given:
                raise invalid(f"{str(key)[:80]} is given twice")
            given[name] = value
        values = [given.get(name) for name in known]
    else:
        values = list(params or ())
        if len(values) > len(names):
            raise invalid(f"expected at most {len(names)} ({', '.join(names)}), got {len(values)}")
        values += [None] * (len(names) - len(values))
    for index in range(required):
        if values[index] is None:
            raise invalid(f"{names[index]} is missing")
    return values


def without_placeholder(params: Params) -> Params:
    """Return the parameters of a method that takes none, without the one value that Go's client always sends."""
    return [] if isinstance(params, list) and len(params) == 1 and not params[0] else params


def as_type(value: Any, kind: type[T], name: str) -> T:
    """Return the value if it is of `kind`; a bool is no number."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise invalid(f"{name}: {error}") from None


def as_incarnation(value: Any) -> int | None:
    """Return an incarnation; None for one that is left out, or 0, as Go's encoder sends it."""
    return as_type(value, int, "Incarnation") or None if value is not None else None


def as_name(value: Any, *, allow_all: bool = False) -> str:
    """Return the value if it is a service's name; with `allow_all`, or `*`."""
    text = as_type(value, str, "Name")
    if not (allow_all and text == ALL_NAMES) and not _NAME.fullmatch(text):
        raise invalid(f"Name: expected a DNS label (a-z, 0-9, -; 1 to 63 characters), got {text[:80]!r}")
    return text


def as_seconds(value: Any, name: str, default: float, least: float, most: float) -> float:
    """Return a number of seconds or a duration such as `"5s"` in seconds; `default` for None."""
    if value is None:
        return default
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except ValueError as error:
            raise invalid(f"{name}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise invalid(f"{name}: expected {least:.10g} to {most:.10g} seconds, got {value!r}")
    return float(value)


def as_record(params: Params, allow_checks: tuple[str, ...], new_id: Callable[[], str], now: float) -> Record:
    """Return the record of a `Discovery.Register` call; `new_id` makes its id unless the call gives one."""
    by_name = named_params(params)
    if by_name is None and params:
        raise invalid("expected one object {Name, Addr, HealthCheck, …}")
    given: dict[str, Any] = {}
    for key, value in (by_name or {}).items():
        if (name := _REGISTRATION_FIELDS.get(str(key).lower())) is None:
            raise invalid(f"unknown field {key!r}, expected {', '.join(_REGISTRATION_FIELDS.values())}")
        if value is not None:
            given[name] = value
    if isinstance(given.get("Addr"), dict):
        given["Addr"] = _address_fields(given["Addr"])
    for name in ("Name", "Addr", "HealthCheck"):
        if name not in given:
            raise invalid(f"{name} is missing")
    registration = as_type(given, Registration, "Registration")
    as_name(registration.name)
    if registration.uuid and not _ID.fullmatch(registration.uuid):
        raise invalid(f"Uuid: expected 1 to 64 of A-Z a-z 0-9 . _ -, got {registration.uuid[:80]!r}")
    address = as_address(registration.addr)
    check_target(registration.health_check, address, allow_checks)
    _check_size(registration)
    # The registration of a `ttl:` instance counts as its first renewal: stored as that, it needs no second write.
    is_ttl = registration.health_check == "ttl:"
    instance = Instance(
        uuid=registration.uuid or new_id(),
        name=registration.name,
        addr=address,
        health_check=registration.health_check,
        state=CheckState.PASSING if is_ttl else CheckState.STARTING,
        tags=registration.tags,
        meta=registration.meta,
        since=now,
        registered=now,
        output="registered" if is_ttl else "",
        checked=now if is_ttl else 0.0,
    )
    return Record(instance, as_settings(registration))


def as_settings(registration: Registration) -> ProbeSettings:
    """Return the thresholds of a registration's check, with the defaults for those left out."""
    default = ProbeSettings()
    return ProbeSettings(
        interval=as_seconds(registration.interval, "Interval", default.interval, 0.05, 86_400),
        timeout=as_seconds(registration.timeout, "Timeout", default.timeout, 0.01, 300),
        failures=_count(registration.failures, "Failures", default.failures),
        timeouts=_count(registration.timeouts, "Timeouts", default.timeouts),
        successes=_count(registration.successes, "Successes", default.successes),
        forget_after=as_seconds(registration.forget_after, "ForgetAfter", default.forget_after, 1, 31 * 86_400),
        lease=as_seconds(registration.lease, "Lease", default.lease, 0.5, 31 * 86_400),
    )


# Each registration needs it twice: for the order of calls and for the record.
@lru_cache(maxsize=1_024)
def as_address(value: Address | str) -> Address:
    """Return the address given as `{"IP","Port","Zone"}` or `host:port`; a host name other than `localhost` is kept."""
    if isinstance(value, str):
        try:
            host, port = split_host_port(value)
        except ValueError:
            raise invalid(f'Addr: expected {{"IP","Port","Zone"}} or "host:port", got {value[:80]!r}') from None
        host, _, zone = host.partition("%")
        value = Address(host, port, zone)
    if not value.IP or len(value.IP) > 253 or not re.fullmatch(r"[A-Za-z0-9.:_-]+", value.IP):
        raise invalid(f"Addr.IP: expected an address or host name, got {value.IP[:80]!r}")
    if not 1 <= value.Port <= 65_535:
        raise invalid(f"Addr.Port: expected 1 to 65535, got {value.Port}")
    if value.Zone and not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", value.Zone):
        raise invalid(f"Addr.Zone: expected an interface's name, got {value.Zone[:80]!r}")
    host = _normalized_host(value.IP)
    if value.Zone:
        _check_zone(value.Zone, host)
    return Address(host, value.Port, value.Zone)


def check_target(check: str, address: Address, allow_checks: tuple[str, ...]) -> None:
    """Raise RpcError unless `check` is `ttl:` or a URL on the registered host or on one in `allow_checks`."""
    # Without this rule any client could make the registry send requests to hosts that only the registry reaches (SSRF).
    if check == "ttl:":
        return
    if len(check) > 2_048 or not check.isprintable() or not check.isascii() or " " in check:
        raise invalid("HealthCheck: expected an ASCII URL of at most 2,048 characters")
    try:
        parts = urlsplit(check)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise invalid(f"HealthCheck: {error}") from None
    if parts.scheme not in ("http", "https", "tcp") or not host or (parts.scheme == "tcp" and port is None):
        raise invalid(f"HealthCheck: expected http(s)://…, tcp://host:port or ttl:, got {check[:80]!r}")
    if port == 0:
        raise invalid("HealthCheck: expected a port from 1 to 65535, got port 0")
    if parts.username is not None:
        raise invalid("HealthCheck: the URL must not contain a user or password")
    if reason := refusal(host):
        raise invalid(f"HealthCheck: {host} is {reason}, which is never checked — {_OTHER_ADDRESS}")
    if is_same_host(host, address.IP) or any(_allows(pattern, host) for pattern in allow_checks):
        return
    raise invalid(
        f"HealthCheck: points at {host}, but {address.IP} is being registered — use the same host, "
        "or add it to registry.allow_checks"
    )


def _address_fields(given: dict[str, Any]) -> dict[str, Any]:
    names = {"ip": "IP", "port": "Port", "zone": "Zone"}
    for key in given:
        if str(key).lower() not in names:
            raise invalid(f"Addr: unknown field {key!r}, expected IP, Port, Zone")
    return {names[key.lower()]: value for key, value in given.items() if value is not None}


def _count(value: int | None, name: str, default: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= 1_000:
        raise invalid(f"{name}: expected 1 to 1000, got {value}")
    return value


def _check_size(registration: Registration) -> None:
    tags, meta = registration.tags, registration.meta
    if len(tags) > MAX_TAGS or any(len(tag) > 256 for tag in tags):
        raise invalid(f"Tags: expected at most {MAX_TAGS}, each of at most 256 characters")
    if len(meta) > MAX_META or any(len(key) > 256 or len(text) > 1_024 for key, text in meta.items()):
        raise invalid(f"Meta: expected at most {MAX_META}, names of at most 256 and values of at most 1,024 characters")


def _normalized_host(host: str) -> str:
    """Return the host in its one spelling (`normalize_host`). Raises for an address that no client can connect to."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if ":" in host or re.fullmatch(r"[0-9.]+", host) or parse_old_ipv4(host):
            raise invalid(f"Addr.IP: {host[:80]!r} is no IP address") from None
        if not _HOST_NAME.fullmatch(host):
            raise invalid(
                f"Addr.IP: {host[:80]!r} is no host name: each of its labels is 1 to 63 letters, digits, - or _,"
                " and neither begins nor ends with -"
            ) from None
    else:
        # `0.0.0.0` is what a server listens on, and a usual mistake.
        if is_no_host(address):
            raise invalid(f"Addr.IP: clients cannot connect to {host} — register the address that clients are to use")
        if reason := refusal(host):
            raise invalid(f"Addr.IP: {host} is {reason} — {_OTHER_ADDRESS}")
    return normalize_host(host)  # `localhost` becomes an address: Go's client takes nothing else


_OTHER_ADDRESS = "use another address of the host"


def _check_zone(zone: str, host: str) -> None:
    """Raise RpcError unless the host is an IPv6 address and this machine has the interface `zone`, a name or a number."""
    if ":" not in host:
        raise invalid(f"Addr.Zone: {zone} is given with {host}, but only IPv6 addresses have a zone — leave it out")
    try:
        known = {str(item) for pair in socket.if_nameindex() for item in pair}
    except OSError:  # the system does not tell: any zone may be right
        return
    if zone not in known:
        raise invalid(f"Addr.Zone: the registry's machine has no interface {zone} — see ip link")


def is_same_host(host: str, other: str) -> bool:
    """Return whether two spellings mean one host: every loopback address is the same host."""
    return _same_host_key(host) == _same_host_key(other)


def _same_host_key(host: str) -> str:
    """Return a key that is equal for two spellings of one host: every loopback address is the same host."""
    host = host.partition("%")[0].lower().rstrip(".")
    if host == "localhost":
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    return "loopback" if address.is_loopback else str(address)


def _allows(pattern: str, host: str) -> bool:
    """Return whether an item of `allow_checks` (a host, a network, or `*`) allows checks of `host`."""
    if pattern in ("*", host) or is_same_host(pattern, host):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
