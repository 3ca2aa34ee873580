"""What the control API answers besides `Snapshot` and `LogLine` (floor 2): shapes, and statuses ↔ errors."""

from typing import Any

import msgspec
from msgspec import Struct, field

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.model import Event, InstanceView, ServiceView, Usage


class ErrorReply(Struct, frozen=True):
    """Every answer from 400 up."""

    error: str


class ServiceReply(Struct, frozen=True):
    """`GET /v1/services/{name}`: one service (None when only an instance is known), its rows, its latest events.

    `dependents` are the services that suffer when it stops. `settings` are the manifest's keys of how it is run (user, health,
    restart, stop, limits), as `minikube config --defaults` shows them.
    """

    revision: int
    service: ServiceView | None
    instances: tuple[InstanceView, ...] = ()
    usage: tuple[Usage, ...] = ()
    events: tuple[Event, ...] = ()
    dependents: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


class EventsReply(Struct, frozen=True):
    """`GET /v1/events`. `last` is what to pass as `since` next; `missed` tells that older ones are forgotten."""

    events: tuple[Event, ...]
    last: int
    missed: bool = False


class KeyChange(Struct, frozen=True):
    """A key of a service with its value before and after, as `minikube config` shows it; empty: it was not there."""

    key: str
    before: str = ""
    after: str = ""


class ServiceChange(Struct, frozen=True):
    """`change` is `added`, `removed`, `replaced`, `follows` (restarted after what it depends on), `adjusted` or `scaled`."""

    service: str
    change: str
    keys: tuple[KeyChange, ...] = ()


class ApplyReply(Struct, frozen=True):
    """`POST /v1/apply`: what was (or with `dry_run` would be) done, and the services that are as they were."""

    changes: tuple[ServiceChange, ...] = ()
    unchanged: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    """What did not come back as it should; the rest was done all the same."""
    dry_run: bool = False


_STATUSES: dict[type[MinikubeError], int] = {NotFound: 404, UsageError: 400, Unavailable: 503}


def status_of(error: MinikubeError) -> int:
    """The HTTP status that tells an error of the family; 409 for those that have none of their own."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 409)


def error_for(status: int, body: bytes) -> MinikubeError:
    """The error of the family that an answer stands for."""
    try:
        message = msgspec.json.decode(body, type=ErrorReply).error
    except (msgspec.DecodeError, RecursionError):
        message = f"the supervisor answered {status}"
    kind = next((kind for kind, its_own in _STATUSES.items() if its_own == status), None)
    return kind(message) if kind else RemoteError(status, message)
