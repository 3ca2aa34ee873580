"""Addresses for clients that do not share this machine's loopback: `Discovery.Via`. Pure.

A container reaches the registry through a relay on the gateway of its network. There, 127.0.0.1 is the container itself: the
processes of this machine are reached at the gateway, on their own ports. So the relay begins each connection with
`Discovery.Via {"Host": gateway}`, and answers on that connection have the gateway in place of every loopback address.

It changes the text of answers, not records: the address that is stored and probed stays. It gives no rights.
"""

import ipaddress
import re

from minikube.jsonrpc.messages import Params
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.validation import arguments, as_type, invalid

# The key `Port` behind it tells an address from text: `IP` may be a name in `Meta`, and quotes in `Output` are escaped.
_LOOPBACK_ADDRESS = re.compile(rb'"IP":"(?:127\.[0-9.]+|::1|localhost)"(?=,"Port":[0-9])')


def set_loopback_host(params: Params, connection: RpcConnection) -> bool:
    """Set the host that the connection's answers have in place of loopback addresses; return True. Raises RpcError."""
    (host,) = arguments(params, "Host", required=1)
    try:
        connection.loopback_host = str(ipaddress.ip_address(as_type(host, str, "Host")))
    except ValueError:
        raise invalid(f"Host: expected an IP address, got {str(host)[:80]!r}") from None
    return True


def with_loopback_host(encoded: bytes, connection: RpcConnection) -> bytes:
    """Return encoded JSON with the addresses that the connection's client can reach."""
    host = connection.loopback_host
    return _LOOPBACK_ADDRESS.sub(b'"IP":"%b"' % host.encode(), encoded) if host else encoded
