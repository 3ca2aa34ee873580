"""Replies of the control API that are not in `model`, and the HTTP statuses that stand for errors."""

from typing import Any

import msgspec
from msgspec import Struct, field

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.model import Event, InstanceView, ServiceView, Usage


class ErrorReply(Struct, frozen=True):
    """The JSON body of every reply with a status of 400 or above."""

    error: str


class ServiceReply(Struct, frozen=True):
    """The reply of `GET /v1/services/{name}`: a service with its instances, or one instance."""

    revision: int
    service: ServiceView | None
    """None if the instance's service is not known."""
    instances: tuple[InstanceView, ...] = ()
    usage: tuple[Usage, ...] = ()
    events: tuple[Event, ...] = ()
    """The latest events of the service or the instance."""
    dependents: tuple[str, ...] = ()
    """Names of the services that depend on this one, directly or not."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The manifest's keys for running it (ports, user, health, restart, stop, limits), as in `minikube config --all`."""


class ClearReply(Struct, frozen=True):
    """The reply to `DELETE /v1/logs`: the names of the instances whose logs were cleared."""

    cleared: tuple[str, ...] = ()


class EventsReply(Struct, frozen=True):
    """The reply of `GET /v1/events`."""

    events: tuple[Event, ...]
    last: int
    """Number to pass as `since` in the next request."""
    missed: bool = False
    """Whether events between `since` and the first of `events` are not kept any more."""


class KeyChange(Struct, frozen=True):
    """A changed key of a service, with both values as `minikube config` shows them; empty where the key is not set."""

    key: str
    before: str = ""
    after: str = ""


class ServiceChange(Struct, frozen=True):
    """The change that `apply` makes to one service.

    `change` is `added`, `removed`, `replaced`, `follows` (restarted after a dependency), `adjusted` or `scaled`.
    """

    service: str
    change: str
    keys: tuple[KeyChange, ...] = ()


class ApplyReply(Struct, frozen=True):
    """The reply of `POST /v1/apply`: the changes that were made, or that `dry_run` would make."""

    changes: tuple[ServiceChange, ...] = ()
    unchanged: tuple[str, ...] = ()
    """Names of the services that are not touched."""
    warnings: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    """Errors of services and instances that did not start again. All other changes were made."""
    dry_run: bool = False


_STATUSES: dict[type[MinikubeError], int] = {NotFound: 404, UsageError: 400, Unavailable: 503}


def status_of(error: MinikubeError) -> int:
    """Return the HTTP status for an error; 409 for an error without a status of its own."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 409)


def error_for(status: int, body: bytes) -> MinikubeError:
    """Return the exception for an error reply with this HTTP status and body."""
    try:
        message = msgspec.json.decode(body, type=ErrorReply).error
    except (msgspec.DecodeError, RecursionError):
        message = f"the supervisor answered {status}"
    kind = next((kind for kind, kind_status in _STATUSES.items() if kind_status == status), None)
    return kind(message) if kind else RemoteError(status, message)
