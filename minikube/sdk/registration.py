"""The registration of a service, and the state machine that keeps it registered. It does no I/O and reads no clock.

The modules `trio`, `asyncio` and `blocking` do the I/O of each step:

    step = keeper.next_step(now)     a number: seconds to wait; a `Call`: to be sent; None: finished, after `leave`
    keeper.succeeded(now, step, …)   the call's result
    keeper.failed(now, step, …)      the call's error

It registers, asks for its incarnation once, and renews. When the registry answers `NotFound`, it registers again.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from msgspec.structs import replace

from minikube.errors import MinikubeError, NotFound, UsageError
from minikube.model import Address, Instance, Registration, normalize_host
from minikube.sdk import requests
from minikube.sdk.requests import Call
from minikube.sdk.session import Backoff

RENEW_S: Final = 5.0
LEAVE_S: Final = 1.0
"""The longest time for the deregistration. Without it, the registry's own checks remove the instance later."""
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})


class RegisterOptions(TypedDict, total=False):
    """The keyword options of `registered` for trio, asyncio and blocking programs."""

    health: str
    """`/path` (HTTP), `tcp`, `ttl` (no probe: each renewal is the sign of life), or a URL. Default `/health`."""
    host: str | None
    """The address at which others reach the service. Default: HOST. A wildcard address (`0.0.0.0`, `::`) is replaced by the
    local address of the connection to the registry."""
    tags: Sequence[str]
    meta: Mapping[str, str]
    instance_id: str | None
    """Default: INSTANCE_ID, where the name is SERVICE_NAME; otherwise the registry makes an id."""
    interval: float | None
    timeout: float | None
    failures: int | None
    timeouts: int | None
    successes: int | None
    forget_after: float | None
    lease: float | None


def make_registration(
    name: str | None,
    port: int | None,
    options: RegisterOptions,
    environ: Mapping[str, str] = os.environ,
) -> Registration:
    """Return the registration of a service, with missing values from the environment that a supervisor sets.

    Raises `UsageError` if neither the arguments nor the environment have a name or a port.
    """
    known = {**options}
    own_name = environ.get("SERVICE_NAME", "")
    name = name or own_name
    if not name:
        raise UsageError("registered(): no name given, and SERVICE_NAME is not set")
    if port is None:
        word = environ.get("PORT", "")
        if not (word.isascii() and word.isdigit()):
            raise UsageError(f"registered({name!r}): no port given, and PORT is {word!r}")
        port = int(word)
    if not 1 <= port <= 65535:
        raise UsageError(f"registered({name!r}): port must be 1 to 65535, not {port}")
    host: Any = known.pop("host", None) or environ.get("HOST") or "127.0.0.1"
    health: Any = known.pop("health", "/health")
    instance_id = known.pop("instance_id", None)
    if instance_id is None and name == own_name:
        instance_id = environ.get("INSTANCE_ID", "")
    address, _, zone = host.removeprefix("[").removesuffix("]").partition("%")
    tags: Any = known.pop("tags", ())
    meta: Any = known.pop("meta", {})
    rest: dict[str, Any] = {key: value for key, value in known.items() if value is not None}
    return Registration(
        name,
        Address(address, port, zone),
        health,
        str(instance_id or ""),
        tags=tuple(tags),
        meta=dict(meta),
        **rest,
    )


def _check_url(health: str, address: Address) -> str:
    if health.startswith("/"):
        return f"http://{address}{health}"
    return {"tcp": f"tcp://{address}", "ttl": "ttl:"}.get(health, health)


def _normalized(address: Address | str) -> Address:
    assert isinstance(address, Address)
    return replace(address, IP=normalize_host(address.IP))


class RegistrationKeeper:
    """Decides which call to send next, and when, to register an instance and keep it registered. Does no I/O."""

    def __init__(self, registration: Registration) -> None:
        self.name = registration.name
        self.id = registration.uuid
        """The id in the registry; empty before the first reply, if the caller chose none."""
        self.registered = False
        self.problem = ""
        """Why the instance is not registered: the latest error; empty while it is registered."""
        self.leaving = False
        self._registration = registration
        self._incarnation: int | None = None
        self._has_asked = False
        """Whether a registration was sent: it may be stored although its reply never came."""
        self._due = 0.0
        self._backoff = Backoff()
        self._logged = ""
        lease = registration.lease
        self._renew_s = min(RENEW_S, lease / 3) if isinstance(lease, int | float) and lease > 0 else RENEW_S

    @property
    def needs_local_host(self) -> bool:
        """Whether the address is a wildcard, so that `set_local_host` must be called before the next step."""
        address = self._registration.addr
        return isinstance(address, Address) and address.IP in WILDCARDS

    def set_local_host(self, host: str) -> None:
        """Replace the wildcard address by `host`, the local address of a connection to the registry."""
        address = self._registration.addr
        assert isinstance(address, Address)
        ip, _, zone = host.partition("%")
        self._registration = replace(self._registration, addr=Address(ip, address.Port, zone))

    def next_step(self, now: float) -> Call[Any] | float | None:
        """Return the next call to send, or the seconds to wait before the next step; None after `leave` if no call is left to send.

        The caller must end the wait early after `connection_lost`.
        """
        if self.leaving:
            return self._next_leaving_step()
        if now < self._due:
            return self._due - now
        if not self.registered:
            self._has_asked = True
            address = self._registration.addr
            assert isinstance(address, Address)
            check = _check_url(self._registration.health_check, address)
            return requests.register(replace(self._registration, uuid=self.id, health_check=check))
        if self._incarnation is None:
            return requests.instances(self._registration.name)
        return requests.renew(self.id)

    def _next_leaving_step(self) -> Call[Any] | None:
        if not self._has_asked:
            return None
        # A registration whose reply never came may have been stored: the list of instances has its id.
        if self._incarnation is None:
            return requests.instances(self._registration.name)
        return requests.deregister(self.id, self._incarnation) if self.id else None

    def succeeded(self, now: float, call: Call[Any], result: Any) -> None:
        """Record the result of a call that `next_step` returned."""
        self._backoff.reset()
        self.problem = self._logged = ""
        match call.method:
            case "Discovery.Register":
                self.id, self.registered, self._incarnation = result, True, None
                self._due = now
            case "Discovery.Instances":
                self._find_own_entry(result)
                self._due = now + self._renew_s
            case "Discovery.Deregister":
                self._has_asked = False
            case _:
                self._due = now + self._renew_s

    def _find_own_entry(self, instances: Sequence[Instance]) -> None:
        # A deregistration that names the incarnation cannot remove a later entry with the same id.
        self._incarnation = 0
        for instance in instances:
            same_address = _normalized(instance.addr) == _normalized(self._registration.addr)
            if same_address and self.id in ("", instance.uuid):
                self.id, self._incarnation = instance.uuid, instance.incarnation
            elif instance.uuid == self.id:
                self._has_asked = False  # another service has taken the id: there is no entry of ours to deregister

    def failed(self, now: float, call: Call[Any], error: MinikubeError) -> str:
        """Record the error of a call that `next_step` returned. Return the line to log; empty if it was logged already."""
        if call.method == "Discovery.Instances":
            self._incarnation = 0  # only a precaution: deregister by the id alone
            return ""
        if self.leaving:
            self._has_asked = False
            return ""
        if isinstance(error, NotFound) and self.registered:
            self.registered = False
            self._due = now
            return ""
        self.problem = str(error)
        self._due = now + self._backoff.next()
        if self.problem == self._logged:
            return ""
        self._logged = self.problem
        return f"{self.name} is not registered: {self.problem}; trying again"

    def connection_lost(self, now: float) -> None:
        """Make the next step a renewal after a short delay: a restarted registry may not know the instance."""
        self._due = min(self._due, now + self._backoff.next())

    def leave(self) -> None:
        """Make `next_step` return only the calls that deregister the instance."""
        self.leaving = True
