"""The registry's methods as values: what to send and the type of the result. It refuses to send anything.

`methods` makes the SDK's methods of these functions, with their docstrings.
"""

from typing import Any, Generic, TypeVar

from msgspec import Struct

from minikube.model import Address, Instance, Registration

T = TypeVar("T")


LOOKUPS = frozenset(f"Discovery.{name}" for name in ("Get", "Instances", "Services", "Wait", "Status"))
"""Methods that a registry answers without its store, and without a token."""


class Call(Struct, Generic[T], frozen=True):
    """A call of one method of the registry. `kind` is the type of the result."""

    method: str
    params: tuple[Any, ...]
    kind: Any
    extra_s: float = 0.0
    """The seconds that the registry waits on purpose before it replies: added to the caller's time-out."""


class WatchSnapshot(Struct, frozen=True, rename="pascal"):
    """All instances of a name (or `*`) at `revision`. It replaces everything received before."""

    revision: int
    instances: tuple[Instance, ...] = ()


def register(registration: Registration) -> Call[str]:
    """Register an instance and return its id. It is not renewed: use `registered` to keep it registered.

    The registry replies once it has made the first probe, and after 1 s at the latest.
    """
    return Call("Discovery.Register", (registration,), str, extra_s=1.0)


def get(name: str) -> Call[Address]:
    """Return the address of one passing instance of the service, round robin. Raises `NotFound` when none passes."""
    return Call("Discovery.Get", (name,), Address)


def deregister(id_: str, incarnation: int | None = None) -> Call[bool]:
    """Remove an instance. Returns False when it is not registered, or registered by now as another incarnation."""
    return Call("Discovery.Deregister", (id_, incarnation) if incarnation else (id_,), bool)


def renew(id_: str, state: str = "", output: str = "", incarnation: int | None = None) -> Call[bool]:
    """Renew the lease of an instance. Raises `NotFound` when the registry does not know the id: register again.

    With `incarnation` it is also `NotFound` when another registration has replaced that one. An older registry refuses
    the param with the code -32602.

    An instance with a `ttl:` check reports its own state: `state` is "passing" or "critical", `output` says why.
    Critical takes effect at once.
    """
    if incarnation:
        return Call("Discovery.Renew", (id_, state, output, incarnation), bool)
    return Call("Discovery.Renew", (id_, state, output) if state else (id_,), bool)


def instances(name: str | None = None) -> Call[list[Instance]]:
    """Return every instance of a service, or of all services, whatever its state."""
    return Call("Discovery.Instances", (name,) if name else (), list[Instance])


def services() -> Call[dict[str, dict[str, int]]]:
    """Return the names of all services, each with its number of instances by check state."""
    return Call("Discovery.Services", (), dict[str, dict[str, int]])


def wait(name: str, revision: int, timeout: float = 30.0) -> Call[WatchSnapshot]:
    """Wait until the service's revision is greater than `revision`, at most `timeout` seconds; then return its instances."""
    return Call("Discovery.Wait", (name, revision, timeout), WatchSnapshot, extra_s=timeout)


def maintenance(id_: str, on: bool, reason: str = "") -> Call[bool]:
    """Start (`on`) or end the maintenance of an instance: `get` does not return it meanwhile. Returns True."""
    return Call("Discovery.Maintenance", (id_, on, reason), bool)


def status() -> Call[dict[str, Any]]:
    """Return the registry's version, node id, uptime, counts, revision and the state of its store."""
    return Call("Discovery.Status", (), dict[str, Any])


def authenticate(token: str) -> Call[bool]:
    """Present the token, as the first call on a connection to a registry that asks for one. Returns True."""
    return Call("Discovery.Authenticate", (token,), bool)


def other(method: str, params: tuple[Any, ...] = ()) -> Call[Any]:
    """Call a method by its name on the wire; the result is decoded JSON of any shape."""
    return Call(method, params, Any)
