"""The query parameters and bodies of the control API's requests: checks and conversions that raise `UsageError`."""

import time
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec

from minikube.durations import parse_moment
from minikube.errors import UsageError
from minikube.manifest.validate import MAX_REPLICAS
from minikube.net.http_server import Request
from minikube.text import printable

MAX_WAIT_S = 60.0
"""Longest time that a request may wait for news."""

Body = TypeVar("Body")


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a command without options."""


class KillBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `kill`. `signal` is a signal's name without SIG."""

    signal: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9+]{1,12}\Z")] = "KILL"


class ScaleBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `scale`."""

    replicas: Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)]


class MaintenanceBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `maintenance`."""

    on: bool = True
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ApplyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `apply`."""

    dry_run: bool = False


class ShutdownBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `shutdown`."""

    now: bool = False


def parse_body(request: Request, shape: type[Body]) -> Body:
    """Return the request's JSON body as `shape`; no body counts as `{}`."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body is wrong: {printable(str(error))}") from None


def parse_query(request: Request, *known: str, repeated: str = "") -> dict[str, str]:
    """Return the query's parameters. All of them must be `known` and given once, but for `repeated`, which is left out."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True, errors="replace"):
        if name == repeated and repeated:
            continue
        if name not in known:
            raise UsageError(f"there is no parameter {shorten(name)} here: {', '.join(known) or 'it takes none'}")
        if name in values:
            raise UsageError(f"the parameter {name} is given twice")
        values[name] = value
    return values


def repeated_values(request: Request, name: str) -> tuple[str, ...]:
    """Return all values of a query parameter that may be given several times."""
    return tuple(value for key, value in parse_qsl(request.query) if key == name)


def integer(query: dict[str, str], name: str, default: int, minimum: int = -1, maximum: int = 2**53) -> int:
    """Return a parameter that is a whole number."""
    text = query.get(name, str(default))
    is_number = text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 16
    if not is_number or not minimum <= int(text) <= maximum:
        raise UsageError(f"{name} must be a whole number from {minimum} to {maximum}, not {shorten(text)}")
    return int(text)


def seconds(query: dict[str, str], name: str) -> float:
    """Return a parameter that is a time to wait, 0 if it is not given."""
    text = query.get(name, "0")
    if not (text.isascii() and text.replace(".", "", 1).isdecimal()) or float(text) > MAX_WAIT_S:
        raise UsageError(f"{name} must be seconds from 0 to {MAX_WAIT_S:g}, not {shorten(text)}")
    return float(text)


def moment(query: dict[str, str], name: str) -> float:
    """Return a parameter that is a point in time, in Unix seconds; 0 if it is not given."""
    try:
        return parse_moment(query[name], time.time()) if query.get(name) else 0.0
    except ValueError as error:
        raise UsageError(f"{name}: {error}, not {shorten(query[name])}") from None


def flag(query: dict[str, str], name: str) -> bool:
    """Return a parameter that is true or false; false if it is not given, true if it has no value."""
    text = query.get(name, "false").lower()
    if text not in ("", "1", "true", "yes", "0", "false", "no"):
        raise UsageError(f"{name} must be true or false, not {shorten(text)}")
    return text in ("", "1", "true", "yes")


def shorten(text: str) -> str:
    """Return a client's text so that it is safe to show in a message, cut at 80 characters."""
    return printable(text if len(text) <= 80 else text[:79] + "…")
