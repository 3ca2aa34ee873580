"""What the three faces of the SDK share (floor 2): where the registry is, when to try again, how to stay registered.

Sans I/O: events and a time go in, what to do next comes out. Refuses to connect, send, sleep or look at a clock.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from minikube.addresses import join_host_port, split_host_port
from minikube.defaults import CA_ENV, CERT_ENV, DEFAULT_REGISTRY, KEY_ENV, TOKEN_ENV
from minikube.errors import MinikubeError, NotFound, UsageError
from minikube.model import Address, Instance, Registration, spell_host
from minikube.sdk import requests as verbs
from minikube.sdk.requests import Call

CALL_TIMEOUT_S: Final = 5.0
RENEW_S: Final = 5.0
LEAVE_S: Final = 1.0
"""How long leaving may take: the registry finds out by itself what could not be told."""
FIRST_RETRY_S: Final = 0.02
LAST_RETRY_S: Final = 1.0
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})


class RegistryAddress(Struct, frozen=True):
    """Where a registry is and how to be let in. `ca`, `cert` and `key` are PEM files; a `ca` means TLS."""

    host: str
    port: int
    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


def find_target(address: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> RegistryAddress:
    """`address` (`host:port`) or MINIKUBE_REGISTRY or the default; `token` or MINIKUBE_REGISTRY_TOKEN.

    MINIKUBE_REGISTRY_CA (with _CERT and _KEY, where the registry asks for a certificate) turns TLS on.
    Raises UsageError for an address that is none.
    """
    text = address or environ.get("MINIKUBE_REGISTRY") or DEFAULT_REGISTRY
    try:
        host, port = split_host_port(text)
    except ValueError:
        host, port = "", 0
    if not port:
        raise UsageError(f"registry address: expected host:port, got {text!r} — set MINIKUBE_REGISTRY")
    return RegistryAddress(
        host,
        port,
        token if token is not None else environ.get(TOKEN_ENV, ""),
        *(environ.get(name, "") for name in (CA_ENV, CERT_ENV, KEY_ENV)),
    )


class Backoff:
    """Waiting times between attempts: 20 ms, doubling to 1 s."""

    def __init__(self) -> None:
        self._next = FIRST_RETRY_S

    def next(self) -> float:
        """How long to wait before the next attempt."""
        seconds, self._next = self._next, min(self._next * 2, LAST_RETRY_S)
        return seconds

    def reset(self) -> None:
        """It worked: the next failure is a first one."""
        self._next = FIRST_RETRY_S


class RegisterOptions(TypedDict, total=False):
    """What `registered` takes beside name and port, in all three faces."""

    health: str
    """`/path` (HTTP), `tcp`, `ttl` (no probe: staying renewed is the sign of life), or a whole `http://…`."""
    host: str | None
    """The address others reach the service at. Default HOST; a wildcard means: as the registry sees us."""
    tags: Sequence[str]
    meta: Mapping[str, str]
    instance_id: str | None
    """Default: INSTANCE_ID, where the name is SERVICE_NAME; else the registry makes one up."""
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
    """What to register, completed from the environment that a supervisor sets. Raises UsageError where it can't be."""
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


def _spelled(address: Address | str) -> Address:
    assert isinstance(address, Address)
    return replace(address, IP=spell_host(address.IP))


class RegistrationKeeper:
    """Keeps one registration alive: says what to call next and when.

    The shell's whole part: `step = keeper.next(now)`; a number is seconds to wait (less if `nudge` comes), a Call is
    to be made and its outcome told with `done` or `failed`, None is the end, after `leave`.
    """

    def __init__(self, registration: Registration) -> None:
        self.name = registration.name
        self.id = registration.uuid
        """As the registry knows it; empty before the first answer, if none was given."""
        self.registered = False
        self.problem = ""
        """Why it is not registered, the last that was heard; empty while all is well."""
        self._registration = registration
        self._incarnation: int | None = None
        self._asked = False
        self.leaving = False
        self._due = 0.0
        self._backoff = Backoff()
        lease = registration.lease
        self._renew_s = min(RENEW_S, lease / 3) if isinstance(lease, int | float) and lease > 0 else RENEW_S

    @property
    def needs_local_host(self) -> bool:
        """True when `place` has to be told the address that the registry sees us at."""
        address = self._registration.addr
        return isinstance(address, Address) and address.IP in WILDCARDS

    def place(self, host: str) -> None:
        """Register as `host`: the local end of a connection to the registry."""
        address = self._registration.addr
        assert isinstance(address, Address)
        ip, _, zone = host.partition("%")
        self._registration = replace(self._registration, addr=Address(ip, address.Port, zone))

    def next(self, now: float) -> Call[Any] | float | None:
        """The next step."""
        if self.leaving:
            return self._next_to_leave()
        if now < self._due:
            return self._due - now
        if not self.registered:
            self._asked = True
            address = self._registration.addr
            assert isinstance(address, Address)
            check = _check_url(self._registration.health_check, address)
            return verbs.register(replace(self._registration, uuid=self.id, health_check=check))
        if self._incarnation is None:
            return verbs.instances(self._registration.name)
        return verbs.renew(self.id)

    def _next_to_leave(self) -> Call[Any] | None:
        if not self._asked:
            return None
        # A registration whose answer was not awaited may have been stored; its id tells the list.
        if self._incarnation is None:
            return verbs.instances(self._registration.name)
        return verbs.deregister(self.id, self._incarnation) if self.id else None

    def done(self, now: float, call: Call[Any], result: Any) -> None:
        """`call` was answered."""
        self._backoff.reset()
        self.problem = ""
        match call.method:
            case "Discovery.Register":
                self.id, self.registered, self._incarnation = result, True, None
                self._due = now
            case "Discovery.Instances":
                self._find_self(result)
                self._due = now + self._renew_s
            case "Discovery.Deregister":
                self._asked = False
            case _:
                self._due = now + self._renew_s

    def _find_self(self, instances: Sequence[Instance]) -> None:
        # The incarnation makes a late deregistration void once somebody else has taken the id.
        self._incarnation = 0
        for instance in instances:
            same_place = _spelled(instance.addr) == _spelled(self._registration.addr)
            if same_place and self.id in ("", instance.uuid):
                self.id, self._incarnation = instance.uuid, instance.incarnation
            elif instance.uuid == self.id:
                self._asked = False  # somebody else has taken the id: nothing of ours is left to deregister

    def failed(self, now: float, call: Call[Any], error: MinikubeError) -> None:
        """`call` was answered with an error, or not at all."""
        if call.method == "Discovery.Instances":
            self._incarnation = 0  # only a precaution: without it the id alone has to do
            return
        if self.leaving:
            self._asked = False
            return
        if isinstance(error, NotFound) and self.registered:
            self.registered = False
            self._due = now
            return
        self.problem = str(error)
        self._due = now + self._backoff.next()

    def nudge(self, now: float) -> None:
        """The connection was lost: the registry may have been replaced, so renew as soon as it is back."""
        self._due = min(self._due, now + self._backoff.next())

    def leave(self) -> None:
        """From now on the steps are those that deregister."""
        self.leaving = True
