"""What the control API answers besides `Snapshot` and `LogLine` (floor 2): shapes, and statuses ↔ errors."""

import msgspec
from msgspec import Struct

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.model import Event, InstanceView, ServiceView, Usage


class ErrorReply(Struct, frozen=True):
    """Every answer from 400 up."""

    error: str


class ServiceReply(Struct, frozen=True):
    """`GET /v1/services/{name}`: one service (None when only an instance is known), its rows, its latest events.

    `dependents` are the services that suffer when it stops.
    """

    revision: int
    service: ServiceView | None
    instances: tuple[InstanceView, ...] = ()
    usage: tuple[Usage, ...] = ()
    events: tuple[Event, ...] = ()
    dependents: tuple[str, ...] = ()


class EventsReply(Struct, frozen=True):
    """`GET /v1/events`. `last` is what to pass as `since` next; `missed` tells that older ones are forgotten."""

    events: tuple[Event, ...]
    last: int
    missed: bool = False


def error_for(status: int, body: bytes) -> MinikubeError:
    """The error of the family that an answer stands for."""
    try:
        message = msgspec.json.decode(body, type=ErrorReply).error
    except (msgspec.DecodeError, RecursionError):
        message = f"the supervisor answered {status}"
    if status == 404:
        return NotFound(message)
    if status == 400:
        return UsageError(message)
    if status == 503:
        return Unavailable(message)
    return RemoteError(status, message)
