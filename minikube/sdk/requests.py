"""The registry's methods as values (floor 2): what to send and the shape of the answer. Refuses to send anything.

The three faces of the SDK (trio, blocking, asyncio) carry out the same `Call`s.
"""

from typing import Any, Generic, TypeVar

from msgspec import Struct

from minikube.model import Address, Instance, Registration

T = TypeVar("T")


class Call(Struct, Generic[T], frozen=True):
    """One call. `extra_s` is how long the registry itself may take on purpose, on top of the caller's time-out."""

    method: str
    params: tuple[Any, ...]
    kind: Any
    extra_s: float = 0.0


class WatchSnapshot(Struct, frozen=True, rename="pascal"):
    """All instances that a name (or `*`) has at `revision`. It replaces everything known before."""

    revision: int
    instances: tuple[Instance, ...] = ()


def register(registration: Registration) -> Call[str]:
    """The id. The registry answers once the first probe is made, at the latest after 1 s."""
    return Call("Discovery.Register", (registration,), str, extra_s=1.0)


def get(name: str) -> Call[Address]:
    """One passing instance, in turn. NotFound when none passes."""
    return Call("Discovery.Get", (name,), Address)


def deregister(id_: str, incarnation: int | None = None) -> Call[bool]:
    """False when it was not there, or is another incarnation by now."""
    return Call("Discovery.Deregister", (id_, incarnation) if incarnation else (id_,), bool)


def renew(id_: str, state: str = "", output: str = "") -> Call[bool]:
    """NotFound when the registry does not know the id: register again. `state` is for a `ttl:` check's own verdict."""
    return Call("Discovery.Renew", (id_, state, output) if state else (id_,), bool)


def instances(name: str | None = None) -> Call[list[Instance]]:
    """Every instance, whatever its state."""
    return Call("Discovery.Instances", (name,) if name else (), list[Instance])


def services() -> Call[dict[str, dict[str, int]]]:
    """Names, with how many instances are in each state."""
    return Call("Discovery.Services", (), dict[str, dict[str, int]])


def wait(name: str, revision: int, seconds: float) -> Call[WatchSnapshot]:
    """The instances once the name's revision is past `revision`, or as they are after `seconds`."""
    return Call("Discovery.Wait", (name, revision, seconds), WatchSnapshot, extra_s=seconds)


def maintenance(id_: str, on: bool, reason: str = "") -> Call[bool]:
    """Take an instance out of `Get` without deregistering it, or put it back."""
    return Call("Discovery.Maintenance", (id_, on, reason), bool)


def status() -> Call[dict[str, Any]]:
    """Version, node, uptime, counts, revision, the store's state."""
    return Call("Discovery.Status", (), dict[str, Any])


def authenticate(token: str) -> Call[bool]:
    """First on a connection, where the registry wants a token."""
    return Call("Discovery.Authenticate", (token,), bool)


def other(method: str, params: tuple[Any, ...] = ()) -> Call[Any]:
    """Any method, decoded without a shape."""
    return Call(method, params, Any)
