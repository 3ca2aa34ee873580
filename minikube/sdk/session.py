"""Which registries there are, which one is in use, how to be let in, and when to try again. It does no I/O."""

import os
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from minikube.addresses import join_host_port, split_host_port
from minikube.defaults import CA_ENV, CERT_ENV, DEFAULT_REGISTRY, KEY_ENV, TOKEN_ENV
from minikube.errors import Unavailable, UsageError
from minikube.jsonrpc.calls import ConnectionLost

ADDRESS_ENV: Final = "MINIKUBE_REGISTRY"
CALL_TIMEOUT_S: Final = 5.0
FIRST_RETRY_S: Final = 0.02
LAST_RETRY_S: Final = 1.0
MUTE_ATTEMPTS: Final = 4
"""How often a peer that has never answered may close the connection before the call fails: within a third of a second."""
FAILOVER_S: Final = 0.8
"""Among several registries: the most seconds for opening a connection, and of silence while a call waits. The next registry
is in use within a second."""


class NotARegistry(ConnectionLost):
    """The peer is no registry, or TLS is on at one side only. It will hardly change by itself, so the user needs to know."""


class NoAnswer(ConnectionLost):
    """The peer closed a connection without a byte: it may be no registry, or one that is being stopped."""


class RegistryAddress(Struct, frozen=True):
    """The address of a registry and the credentials for it. `ca`, `cert` and `key` are PEM files; a `ca` means TLS."""

    host: str
    port: int
    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    alternatives: tuple[tuple[str, int], ...] = ()
    """Host and port of further registries of the same fleet, to be used in this order."""
    is_token_optional: bool = False
    """Whether the registry may be used without the token, where it does not know it: the caller has not named the token."""

    def __str__(self) -> str:
        return ",".join(join_host_port(*place) for place in ((self.host, self.port), *self.alternatives))


def find_registry(address: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> RegistryAddress:
    """Return the registry to use: `address`, else MINIKUBE_REGISTRY, else 127.0.0.1:5555.

    An address is `host:port`, or a list of them separated by commas: the first that answers is used.
    `token` defaults to MINIKUBE_REGISTRY_TOKEN: that of an instance is unknown to the registry of another project, and is then
    left out. MINIKUBE_REGISTRY_CA turns TLS on; _CERT and _KEY are for a registry that
    asks for a client certificate. Raises `UsageError` for a malformed address.
    """
    source = "registry address" if address or not environ.get(ADDRESS_ENV) else ADDRESS_ENV
    text = address or environ.get(ADDRESS_ENV) or DEFAULT_REGISTRY
    (host, port), *others = (_parse_address(part.strip(), text, source) for part in text.split(","))
    is_token_optional = token is None and bool(environ.get(TOKEN_ENV))
    token = token if token is not None else environ.get(TOKEN_ENV, "")
    ca, cert, key = (environ.get(name, "") for name in (CA_ENV, CERT_ENV, KEY_ENV))
    return RegistryAddress(host, port, token, ca, cert, key, tuple(others), is_token_optional)


def _parse_address(part: str, text: str, source: str) -> tuple[str, int]:
    try:
        host, port = split_host_port(part)
    except ValueError:
        host, port = "", 0
    if port and not set(host) & set("/@ ") and (":" not in host or part.startswith("[")):
        return host, port
    raise UsageError(f"{source}: expected host:port, got {text!r} — {_address_advice(part)}")


def _address_advice(part: str) -> str:
    """Return what to write instead of a malformed address."""
    scheme, separator, rest = part.partition("://")
    if separator:
        usable = rest.split("/", 1)[0] or "host:5555"
        advice = f"write it without the scheme: {usable!r}"
        # A scheme with a final s (https, tls, rpcs) asks for TLS.
        return f"{advice}; {CA_ENV} turns TLS on" if scheme.lower().endswith(("s", "ssl")) else advice
    if not part:
        return "an address is empty: remove the comma, or name a registry"
    if "/" in part:
        return f"a registry has no path: {part.split('/', 1)[0]!r}"
    if "@" in part:
        return f"a registry has no user: {TOKEN_ENV} is the token"
    if part.count(":") > 1 and "[" not in part:
        return "an IPv6 address stands in brackets: '[::1]:5555'"
    if ":" not in part:
        # What is only digits is more likely the port.
        return f"the port is missing: {f'127.0.0.1:{part}' if part.isdigit() else f'{part}:5555'!r}"
    return "the port is a number from 1 to 65535: '127.0.0.1:5555'"


class Backoff:
    """The delays between attempts to reach the registry: 20 ms, doubled after each attempt up to 1 s."""

    def __init__(self) -> None:
        self._next = FIRST_RETRY_S

    def next(self) -> float:
        """Return the seconds to wait before the next attempt, and double the delay after it."""
        seconds, self._next = self._next, min(self._next * 2, LAST_RETRY_S)
        return seconds

    def reset(self) -> None:
        """Start again with the shortest delay: an attempt succeeded."""
        self._next = FIRST_RETRY_S


class Endpoints:
    """The registries of a client, of which one is in use at a time."""

    def __init__(self, address: RegistryAddress) -> None:
        self.address = address
        first = replace(address, alternatives=())
        self._all = (first, *(replace(first, host=host, port=port) for host, port in address.alternatives))
        self._index = 0
        self.reached = False
        """Whether a connection was ever opened."""
        self.answered = False
        """Whether a registry has ever answered."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def several(self) -> bool:
        """Whether there is another registry to move to."""
        return len(self._all) > 1

    @property
    def current(self) -> RegistryAddress:
        """The registry in use."""
        return self._all[self._index]

    def on_answer(self) -> None:
        """Record that a registry has answered."""
        self.answered = True

    def leave(self, failed: RegistryAddress) -> None:
        """Use the next registry from now on, if `failed` is in use: many calls may report the same failure."""
        if failed is self.current:
            self._index = (self._index + 1) % len(self._all)

    def connect_limit_s(self, seconds: float) -> float:
        """Return the most seconds that opening a connection may take, given the caller's limit."""
        return min(seconds, FAILOVER_S) if self.several else seconds


class Attempts:
    """Decides whether one call is sent again after a lost connection, and when."""

    def __init__(self, endpoints: Endpoints, deadline: float) -> None:
        self._endpoints = endpoints
        self._deadline = deadline
        self._backoff = Backoff()
        self._failures = 0
        self._reasons: dict[str, None] = {}

    def failed(self, error: ConnectionLost, now: float) -> float:
        """Return the seconds to wait before the call is sent again.

        Raises `Unavailable` when the time is over, when no registry of the list was ever reached, and for a peer that is no
        registry: a wrong address is reported at once, while a registry that was reached may come back.
        """
        self._failures += 1
        self._reasons[str(error)] = None
        has_untried = self._failures % len(self._endpoints) != 0
        seconds = 0.0 if has_untried else self._backoff.next()
        is_mute = isinstance(error, NoAnswer) and not self._endpoints.answered and self._failures > MUTE_ATTEMPTS
        is_hopeless = isinstance(error, NotARegistry) or is_mute or not self._endpoints.reached
        if now + seconds > self._deadline or (is_hopeless and not has_untried):
            raise Unavailable(f"registry {self._endpoints.address}: {'; '.join(self._reasons)}") from error.__cause__
        return seconds
