"""The address at which others reach a service that listens on a wildcard address, from its connection to the registry."""

import ipaddress
import socket
from contextlib import suppress
from typing import Any, Final

from minikube.errors import Unavailable

_UNROUTED: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses (RFC 5737, RFC 3849): they stand for any host that is not on this network."""


def is_wildcard(host: str) -> bool:
    """Return whether the host stands for every address of the machine: `0.0.0.0`, `::`, in any spelling."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def local_host(wildcard: str, name: tuple[Any, ...]) -> str:
    """Return the local address of a connection, in the family of `wildcard`; `name` is what getsockname(2) returned.

    A service that listens on `::` may take IPv6 only, and one on `0.0.0.0` takes IPv4 only: where the connection is of the
    other family, the loopback address stands for a loopback address, and else the address of the default route. Raises
    `Unavailable` when the machine has none.
    """
    connected = ipaddress.ip_address(str(name[0]).partition("%")[0])
    mapped = getattr(connected, "ipv4_mapped", None)
    wanted = ipaddress.ip_address(wildcard)
    if (mapped or connected).version == wanted.version:
        return str(mapped or connected) + _zone(name)
    if (mapped or connected).is_loopback:
        return "::1" if wanted.version == 6 else "127.0.0.1"
    return _routed_host(socket.AF_INET6 if wanted.version == 6 else socket.AF_INET, wildcard)


def _zone(name: tuple[Any, ...]) -> str:
    """Return the zone of a link-local IPv6 address, as `%eth0`: getsockname(2) gives it as a number beside the address."""
    scope = name[3] if len(name) == 4 else 0
    if not scope:
        return ""
    with suppress(OSError):
        return f"%{socket.if_indextoname(scope)}"
    return f"%{scope}"


def _routed_host(family: socket.AddressFamily, wildcard: str) -> str:
    # connect(2) of a UDP socket sends nothing: it only chooses the local address.
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_UNROUTED[family], 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Unavailable(
            f"the service listens on {wildcard}, and this machine has no such address towards others"
            f" ({error.strerror}) — set HOST, or host=, to the address at which others reach it"
        ) from None
