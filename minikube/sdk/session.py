"""The registry's address and credentials from arguments and environment, and the delays between attempts. No I/O."""

import os
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from minikube.addresses import join_host_port, split_host_port
from minikube.defaults import CA_ENV, CERT_ENV, DEFAULT_REGISTRY, KEY_ENV, TOKEN_ENV
from minikube.errors import UsageError

CALL_TIMEOUT_S: Final = 5.0
FIRST_RETRY_S: Final = 0.02
LAST_RETRY_S: Final = 1.0


class RegistryAddress(Struct, frozen=True):
    """The address of a registry and the credentials for it. `ca`, `cert` and `key` are PEM files; a `ca` means TLS."""

    host: str
    port: int
    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


def find_registry(address: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> RegistryAddress:
    """Return the registry to use: `address` (`host:port`), else MINIKUBE_REGISTRY, else 127.0.0.1:5555.

    `token` defaults to MINIKUBE_REGISTRY_TOKEN. MINIKUBE_REGISTRY_CA turns TLS on; _CERT and _KEY are for a registry that
    asks for a client certificate. Raises `UsageError` for a malformed address.
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
