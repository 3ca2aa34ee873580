"""The registration of a service, and the state machine that keeps it registered. It does no I/O and reads no clock.

The modules `trio`, `asyncio` and `blocking` do the I/O of each step:

    step = keeper.next_step(now)     a number: seconds to wait; a `Call`: to be sent; None: finished, after `leave`
    keeper.succeeded(now, step, …)   the call's result
    keeper.failed(now, step, …)      the call's error

It registers, asks for its incarnation, and renews. When the registry answers `NotFound`, its entry was lost or replaced:
it registers again, unless the entry that stands there says the same. Another process of the same service (a second worker of
a web server, say) has registered that one, and two owners must not replace each other's entry for ever.
"""

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from msgspec.structs import replace

from minikube.durations import parse_duration
from minikube.errors import MinikubeError, NotFound, RemoteError, UsageError
from minikube.jsonrpc.messages import CONFLICT, INVALID_PARAMS, UNAUTHORIZED
from minikube.model import NAME_PATTERN, Address, Instance, Registration, normalize_host
from minikube.sdk import local_address, requests
from minikube.sdk.requests import Call
from minikube.sdk.session import Backoff

LOGGER = logging.getLogger("minikube")

RENEW_S: Final = 5.0
LEAVE_S: Final = 1.0
"""The most seconds that leaving may take: without a deregistration the registry's own checks remove the instance."""
FINAL_CODES: Final = frozenset({INVALID_PARAMS, UNAUTHORIZED, CONFLICT})
"""Errors of a first registration that a repetition does not mend: wrong parameters, no right, an entry of another owner."""
DURATIONS: Final = ("interval", "timeout", "forget_after", "lease")


class RegisterOptions(TypedDict, total=False):
    """The keyword options of `registered` for trio, asyncio and blocking programs."""

    health: str
    """`/path` (HTTP), `tcp`, `ttl` (no probe: each renewal is the sign of life), or a URL. Default `/health`."""
    host: str | None
    """The address at which others reach the service. Default: HOST. A wildcard address (`0.0.0.0`, `::`) is replaced by the
    local address of the connection to the registry, of the same family."""
    tags: Sequence[str]
    meta: Mapping[str, str]
    instance_id: str | None
    """Default: INSTANCE_ID, where the name is SERVICE_NAME; otherwise the registry makes an id."""
    interval: float | str | None
    """Seconds or a duration such as `"5s"`, like the other durations."""
    timeout: float | str | None
    failures: int | None
    timeouts: int | None
    successes: int | None
    forget_after: float | str | None
    lease: float | str | None
    """How long the registry believes a `ttl` check without a renewal. It is renewed at a third of that, at most every 5 s."""


def make_registration(
    name: str | None,
    port: int | None,
    options: RegisterOptions,
    environ: Mapping[str, str] = os.environ,
) -> Registration:
    """Return what to register, completed from the environment that a supervisor sets. Raises `UsageError` without a name or
    port, for a name that is no DNS label, or for a malformed duration.

    An instance that registers its own port is registered as its service, whatever the name: the manifest names services.
    """
    known = {**options}
    own_name = environ.get("SERVICE_NAME", "")
    if name and own_name and name != own_name:
        name = _resolve_name(name, port, own_name, environ.get("PORT", ""))
    name = name or own_name
    if not name:
        raise UsageError("registered(): no name given, and SERVICE_NAME is not set")
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"registered({name[:80]!r}): expected a DNS label as name (a-z, 0-9, -; 1 to 63 characters)")
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
    for key in rest.keys() & set(DURATIONS):
        rest[key] = _seconds(rest[key], f"registered({name!r}): {key}")
    return Registration(
        name,
        Address(address, port, zone),
        health,
        str(instance_id or ""),
        tags=tuple(tags),
        meta=dict(meta),
        **rest,
    )


def _resolve_name(name: str, port: int | None, own_name: str, own_port: str) -> str:
    """Return the name to register under for a name that is not the service's, and log what that means."""
    if own_port and str(port or own_port) == own_port:
        LOGGER.warning(
            "registered(%r): port %s is that of service %r in the manifest, and is registered as %r — leave the name out, or"
            " rename the service to %r",
            *(name, own_port, own_name, own_name, name),
        )
        return own_name
    LOGGER.warning(
        "registered(%r, %s) adds an entry beside service %r of this instance (port %s) and does not register that one —"
        ' with register = "self" in the manifest, call registered() without a name for it',
        *(name, port, own_name, own_port or "none"),
    )
    return name


def _seconds(value: Any, what: str) -> float:
    """Return a duration in seconds. Raises `UsageError` for one that is malformed or not positive."""
    try:
        seconds = parse_duration(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(f"{what}: {error}, or seconds, got {value!r}") from None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise UsageError(f'{what}: expected seconds above 0, or a duration such as "5s", got {value!r}')
    return float(seconds)


def _check_url(health: str, address: Address) -> str:
    if health.startswith("/"):
        return f"http://{address}{health}"
    return {"tcp": f"tcp://{address}", "ttl": "ttl:"}.get(health, health)


def _normalized(address: Address | str) -> Address:
    assert isinstance(address, Address)
    return replace(address, IP=normalize_host(address.IP))


def _is_final(error: MinikubeError) -> bool:
    """Return whether a repetition does not mend this error of a registration."""
    return isinstance(error, UsageError) or (isinstance(error, RemoteError) and error.code in FINAL_CODES)


class RegistrationKeeper:
    """Decides which call to send next, and when, to register an instance and keep it registered. Does no I/O."""

    def __init__(self, registration: Registration) -> None:
        self.name = registration.name
        self.id = registration.uuid
        """The id in the registry; empty before the first reply, if the caller chose none."""
        self.registered = False
        self.problem = ""
        """Why the instance is not registered: the latest error; empty while it is registered."""
        self.refusal: MinikubeError | None = None
        """The registry's refusal of the first registration, which a repetition would not mend: `registered()` raises it."""
        self.leaving = False
        self._registration = registration
        self._incarnation: int | None = None
        self._was_registered = False
        self._has_asked = False
        """Whether a registration was sent: it may be stored although its reply never came."""
        self._is_shared = False
        """Whether another process has registered the same since: the entry is left to that process at the end."""
        self._is_lost = False
        """Whether the registry said that the entry was lost or replaced, and was not asked yet what stands there."""
        self._names_incarnation = True
        """Whether renewals name the incarnation; False for a registry that does not take it."""
        self._due = 0.0
        self._backoff = Backoff()
        self._logged = ""
        lease = registration.lease
        self._renew_s = RENEW_S if lease is None else min(RENEW_S, _seconds(lease, "lease") / 3)

    @property
    def needs_local_host(self) -> bool:
        """Whether the address is a wildcard, so that `set_local_host` must be called before the next step."""
        address = self._registration.addr
        return isinstance(address, Address) and local_address.is_wildcard(address.IP)

    def set_local_host(self, name: tuple[Any, ...]) -> None:
        """Register with the local address of a connection to the registry; `name` is what getsockname(2) returned.

        Raises `Unavailable` when the machine has no address of the family on which the service listens.
        """
        address = self._registration.addr
        assert isinstance(address, Address)
        ip, _, zone = local_address.local_host(address.IP, name).partition("%")
        self._registration = replace(self._registration, addr=Address(ip, address.Port, zone))

    def next_step(self, now: float) -> Call[Any] | float | None:
        """Return the next call to send, or the seconds to wait before the next step; None after a `refusal`, and after `leave` if
        no call is left to send.

        The caller must end the wait early after `connection_lost`.
        """
        if self.leaving:
            return self._next_leaving_step()
        if self.refusal:
            return None
        if now < self._due:
            return self._due - now
        if self._is_lost:
            return requests.instances(self._registration.name)
        if not self.registered:
            self._has_asked = True
            address = self._registration.addr
            assert isinstance(address, Address)
            check = _check_url(self._registration.health_check, address)
            return requests.register(replace(self._registration, uuid=self.id, health_check=check))
        if self._incarnation is None:
            return requests.instances(self._registration.name)
        return requests.renew(self.id, incarnation=self._incarnation if self._names_incarnation else None)

    def _next_leaving_step(self) -> Call[Any] | None:
        if not self._has_asked or self._is_shared:
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
                self._is_shared, self._was_registered = False, True
                self._due = now
            case "Discovery.Instances":
                self._due = now + self._renew_s
                if self._is_lost:
                    self._due = now  # either registers again or renews at once, as the lease was not renewed
                    self._adopt_entry(result)
                else:
                    self._find_own_entry(result)
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
                # Another service has taken the id: there is no entry of ours to deregister. The next renewal registers.
                self._has_asked = self.registered = False
                self.problem = (
                    f"another service is registered with the id {self.id}: {instance.name} at {instance.addr}"
                )

    def _adopt_entry(self, instances: Sequence[Instance]) -> None:
        """Take over an entry that says the same as ours; else see to it that the next step registers."""
        self._is_lost = False
        for instance in instances:
            if instance.uuid == self.id and self._says_the_same(instance):
                self._incarnation, self.registered, self._is_shared = instance.incarnation, True, True

    def _says_the_same(self, instance: Instance) -> bool:
        ours = self._registration
        assert isinstance(ours.addr, Address)
        return (instance.name, _normalized(instance.addr), instance.health_check, instance.tags, instance.meta) == (
            ours.name,
            _normalized(ours.addr),
            _check_url(ours.health_check, ours.addr),
            ours.tags,
            ours.meta,
        )

    def failed(self, now: float, call: Call[Any], error: MinikubeError) -> str:
        """Record the error of a call that `next_step` returned. Return the line to log; empty if it was logged already."""
        if call.method == "Discovery.Instances":
            self._incarnation = 0  # only a precaution: deregister by the id alone
            self._is_lost = False
            return ""
        if self.leaving:
            self._has_asked = False
            return ""
        if isinstance(error, NotFound) and self.registered:
            # Without the incarnation the registry can only have lost the entry.
            self._is_lost = bool(self._incarnation) and self._names_incarnation
            self.registered = False
            self._due = now
            return ""
        if isinstance(error, RemoteError) and error.code == INVALID_PARAMS and call == self._incarnation_renewal():
            self._names_incarnation = False
            self._due = now
            return ""
        self.problem = str(error)
        if call.method == "Discovery.Register" and not self._was_registered and _is_final(error):
            self.refusal, self._has_asked = error, False
            return ""
        self._due = now + self._backoff.next()
        if self.problem == self._logged:
            return ""
        self._logged = self.problem
        return f"{self.name} is not registered: {self.problem}; trying again"

    def _incarnation_renewal(self) -> Call[bool] | None:
        return requests.renew(self.id, incarnation=self._incarnation) if self._names_incarnation else None

    def connection_lost(self, now: float) -> None:
        """Renew as soon as the registry is back: it may have been replaced by one that does not know the instance."""
        self._names_incarnation = True  # it may be a newer one, too
        self._due = min(self._due, now + self._backoff.next())

    def leave(self) -> None:
        """Make `next_step` return only the calls that deregister the instance."""
        self.leaving = True
