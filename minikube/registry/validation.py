"""What callers pass, checked (floor 3, pure): params by position or by name, registrations, durations, check targets.

Everything wrong raises `RpcError` -32602 that names the field, what was expected and what came. It refuses to resolve names, except
`localhost`.
"""

import ipaddress
import re
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from minikube.addresses import split_host_port
from minikube.durations import parse_duration
from minikube.health.state import ProbeSettings
from minikube.jsonrpc.messages import INVALID_PARAMS, Params, RpcError
from minikube.model import NAME_PATTERN, Address, CheckState, Instance, Registration, normalize_host
from minikube.registry.catalog.records import Record

_NAME = re.compile(NAME_PATTERN)
_GIVEN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_FIELDS = {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(Registration)}
_LIMITS = {"tags": 64, "meta": 64}

T = TypeVar("T")


def wrong(text: str) -> RpcError:
    """An error of the caller's."""
    return RpcError(INVALID_PARAMS, f"invalid params: {text}")


def arguments(params: Params, *names: str, least: int = 0) -> list[Any]:
    """Values in the order of `names`, None for those left out; `least` of them are needed. Names are case-insensitive."""
    if isinstance(params, dict):
        given = {str(key).lower(): value for key, value in params.items()}
        known = [name.lower() for name in names]
        for key in given:
            if key not in known:
                raise wrong(f"unknown name {key!r}, expected {', '.join(names)}")
        values = [given.get(name) for name in known]
    else:
        values = list(params or ())
        if len(values) > len(names):
            raise wrong(f"expected at most {len(names)} ({', '.join(names)}), got {len(values)}")
        values += [None] * (len(names) - len(values))
    for index in range(least):
        if values[index] is None:
            raise wrong(f"{names[index]} is missing")
    return values


def as_type(value: Any, kind: type[T], name: str) -> T:
    """The value, if it is of `kind` (a bool is no number)."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise wrong(f"{name}: {error}") from None


def as_name(value: Any, *, every: bool = False) -> str:
    """A service's name, or `*`."""
    text = as_type(value, str, "Name")
    if not (every and text == "*") and not _NAME.fullmatch(text):
        raise wrong(f"Name: expected a DNS label (a-z, 0-9, -; 1 to 63 characters), got {text[:80]!r}")
    return text


def seconds(value: Any, name: str, default: float, least: float, most: float) -> float:
    """A number of seconds or `"5s"`, within bounds."""
    if value is None:
        return default
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except ValueError as error:
            raise wrong(f"{name}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise wrong(f"{name}: expected {least:.10g} to {most:.10g} seconds, got {value!r}")
    return float(value)


def as_record(params: Params, allow: tuple[str, ...], new_id: str, now: float) -> Record:
    """The registration that `Discovery.Register` was given."""
    if isinstance(params, list):
        if len(params) != 1 or not isinstance(params[0], dict):
            raise wrong("expected one object {Name, Addr, HealthCheck, …}")
        params = params[0]
    given: dict[str, Any] = {}
    for key, value in (params or {}).items():
        if (name := _FIELDS.get(str(key).lower())) is None:
            raise wrong(f"unknown field {key!r}, expected {', '.join(_FIELDS.values())}")
        if value is not None:
            given[name] = value
    if isinstance(given.get("Addr"), dict):
        given["Addr"] = _address_fields(given["Addr"])
    for name in ("Name", "Addr", "HealthCheck"):
        if name not in given:
            raise wrong(f"{name} is missing")
    asked = as_type(given, Registration, "Registration")
    as_name(asked.name)
    if asked.uuid and not _GIVEN_ID.fullmatch(asked.uuid):
        raise wrong(f"Uuid: expected 1 to 64 of A-Z a-z 0-9 . _ -, got {asked.uuid[:80]!r}")
    address = as_address(asked.addr)
    check_target(asked.health_check, address, allow)
    _check_size(asked)
    instance = Instance(
        uuid=asked.uuid or new_id,
        name=asked.name,
        addr=address,
        health_check=asked.health_check,
        state=CheckState.STARTING,
        tags=asked.tags,
        meta=asked.meta,
        since=now,
        registered=now,
    )
    return Record(instance, as_settings(asked))


def as_settings(asked: Registration) -> ProbeSettings:
    """How the instance is judged."""
    usual = ProbeSettings()
    return ProbeSettings(
        interval=seconds(asked.interval, "Interval", usual.interval, 0.05, 86_400),
        timeout=seconds(asked.timeout, "Timeout", usual.timeout, 0.01, 300),
        failures=_count(asked.failures, "Failures", usual.failures),
        timeouts=_count(asked.timeouts, "Timeouts", usual.timeouts),
        successes=_count(asked.successes, "Successes", usual.successes),
        forget_after=seconds(asked.forget_after, "ForgetAfter", usual.forget_after, 1, 31 * 86_400),
        lease=seconds(asked.lease, "Lease", usual.lease, 0.5, 31 * 86_400),
    )


def as_address(value: Address | str) -> Address:
    """`{"IP","Port","Zone"}` or `host:port`; a host name other than `localhost` is kept."""
    if isinstance(value, str):
        try:
            host, port = split_host_port(value)
        except ValueError:
            raise wrong(f'Addr: expected {{"IP","Port","Zone"}} or "host:port", got {value[:80]!r}') from None
        host, _, zone = host.partition("%")
        value = Address(host, port, zone)
    if not value.IP or len(value.IP) > 253 or not re.fullmatch(r"[A-Za-z0-9.:_-]+", value.IP):
        raise wrong(f"Addr.IP: expected an address or host name, got {value.IP[:80]!r}")
    if not 1 <= value.Port <= 65_535:
        raise wrong(f"Addr.Port: expected 1 to 65535, got {value.Port}")
    if value.Zone and not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", value.Zone):
        raise wrong(f"Addr.Zone: expected an interface's name, got {value.Zone[:80]!r}")
    return Address(_spelled(value.IP), value.Port, value.Zone)


def check_target(check: str, address: Address, allow: tuple[str, ...]) -> None:
    """A check may point only at the host it registers, unless `allow_checks` says otherwise."""
    if check == "ttl:":
        return
    if len(check) > 2_048 or not check.isprintable() or not check.isascii() or " " in check:
        raise wrong("HealthCheck: expected an ASCII URL of at most 2,048 characters")
    try:
        parts = urlsplit(check)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise wrong(f"HealthCheck: {error}") from None
    if parts.scheme not in ("http", "https", "tcp") or not host or (parts.scheme == "tcp" and port is None):
        raise wrong(f"HealthCheck: expected http(s)://…, tcp://host:port or ttl:, got {check[:80]!r}")
    if port == 0:
        raise wrong("HealthCheck: port 0 is none that anybody listens on")
    if parts.username is not None:
        raise wrong("HealthCheck: no user or password may be in the URL")
    if _plain(host) == _plain(address.IP) or any(_allows(pattern, host) for pattern in allow):
        return
    raise wrong(
        f"HealthCheck: points at {host}, but {address.IP} is being registered — use the same host, "
        "or add it to registry.allow_checks"
    )


def _address_fields(given: dict[str, Any]) -> dict[str, Any]:
    names = {"ip": "IP", "port": "Port", "zone": "Zone"}
    for key in given:
        if str(key).lower() not in names:
            raise wrong(f"Addr: unknown field {key!r}, expected IP, Port, Zone")
    return {names[key.lower()]: value for key, value in given.items() if value is not None}


def _count(value: int | None, name: str, default: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= 1_000:
        raise wrong(f"{name}: expected 1 to 1000, got {value}")
    return value


def _check_size(asked: Registration) -> None:
    if len(asked.tags) > _LIMITS["tags"] or any(len(tag) > 256 for tag in asked.tags):
        raise wrong("Tags: expected at most 64, each of at most 256 characters")
    if len(asked.meta) > _LIMITS["meta"] or any(
        len(key) > 256 or len(text) > 1_024 for key, text in asked.meta.items()
    ):
        raise wrong("Meta: expected at most 64, names of at most 256 and values of at most 1,024 characters")


def _spelled(host: str) -> str:
    """`normalize_host` of what can be connected to; `localhost` as an address, since Go's client takes nothing else."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        if ":" in host or re.fullmatch(r"[0-9.]+", host):
            raise wrong(f"Addr.IP: {host[:80]!r} is no IP address") from None
    else:
        if found.is_unspecified or found.is_multicast:
            raise wrong(f"Addr.IP: nobody can connect to {host} — register the address that clients are to use")
    return normalize_host(host)


def _plain(host: str) -> str:
    """One spelling for each host: every loopback is the same machine."""
    host = host.partition("%")[0].lower().rstrip(".")
    if host == "localhost":
        return "loopback"
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return "loopback" if found.is_loopback else str(found)


def _allows(pattern: str, host: str) -> bool:
    if pattern in ("*", host) or _plain(pattern) == _plain(host):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
