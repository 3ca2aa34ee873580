"""The query parameters and bodies of the control API's requests: checks and conversions that raise `UsageError`."""

import time
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec

from minikube.durations import parse_moment
from minikube.errors import UsageError
from minikube.manifest.validate import MAX_REPLICAS
from minikube.net.http_messages import Request
from minikube.text import printable

MAX_WAIT_S = 60.0
"""Longest time that a request may wait for news."""

Body = TypeVar("Body")


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a command without options."""


class KillBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a `kill` request. `signal` is a signal's name without SIG."""

    signal: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9+]{1,12}\Z")] = "KILL"


class ScaleBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a `scale` request."""

    replicas: Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)]


class MaintenanceBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a `maintenance` request."""

    on: bool = True
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ApplyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an `apply` request."""

    dry_run: bool = False


class ShutdownBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a `shutdown` request."""

    now: bool = False


def parse_body(request: Request, shape: type[Body]) -> Body:
    """Return the request's JSON body decoded as `shape`; no body counts as `{}`. Raise `UsageError` if it does not fit."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"wrong JSON in the request's body: {printable(str(error))}") from None


def parse_query(request: Request, *known: str, repeated: str = "") -> dict[str, str]:
    """Return the query's parameters by name, without `repeated`, which may be given several times.

    Raise `UsageError` for a parameter that is not in `known` or is given twice.
    """
    values: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True, errors="replace"):
        if name == repeated and repeated:
            continue
        if name not in known:
            raise UsageError(f"unknown parameter {shorten(name)}, expected {', '.join(known) or 'none'}")
        if name in values:
            raise UsageError(f"the parameter {name} is given twice")
        values[name] = value
    return values


def repeated_values(request: Request, name: str) -> tuple[str, ...]:
    """Return all values of the query parameter `name`; empty if it is not given."""
    return tuple(value for key, value in parse_qsl(request.query) if key == name)


def integer(query: dict[str, str], name: str, default: int, minimum: int = -1, maximum: int = 2**53) -> int:
    """Return the parameter `name` as an integer. Raise `UsageError` outside `minimum`…`maximum`."""
    text = query.get(name, str(default))
    is_number = text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 16
    if not is_number or not minimum <= int(text) <= maximum:
        raise UsageError(f"{name} must be a whole number from {minimum} to {maximum}, not {shorten(text)}")
    return int(text)


def seconds(query: dict[str, str], name: str) -> float:
    """Return the parameter `name` as seconds to wait; 0 if it is not given. Raise `UsageError` above `MAX_WAIT_S`."""
    text = query.get(name, "0")
    if not (text.isascii() and text.replace(".", "", 1).isdecimal()) or float(text) > MAX_WAIT_S:
        raise UsageError(f"{name} must be seconds from 0 to {MAX_WAIT_S:g}, not {shorten(text)}")
    return float(text)


def moment(query: dict[str, str], name: str) -> float:
    """Return the point in time in the parameter `name` as Unix seconds; 0 if it is not given. Raise `UsageError`.

    A time of day is today's for `until`, otherwise the last one.
    """
    try:
        return parse_moment(query[name], time.time(), ahead=name == "until") if query.get(name) else 0.0
    except ValueError as error:
        raise UsageError(f"{name}: {error}, not {shorten(query[name])}") from None


def flag(query: dict[str, str], name: str) -> bool:
    """Return the parameter `name` as a boolean: False if it is not given, True if it has no value. Raise `UsageError`."""
    text = query.get(name, "false").lower()
    if text not in ("", "1", "true", "yes", "0", "false", "no"):
        raise UsageError(f"{name} must be true or false, not {shorten(text)}")
    return text in ("", "1", "true", "yes")


def shorten(text: str) -> str:
    """Return a client's text for a message: control characters are escaped, and it is cut at 80 characters."""
    return printable(text if len(text) <= 80 else text[:79] + "…")
