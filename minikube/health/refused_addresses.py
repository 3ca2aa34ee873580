"""The IP addresses that a registry never probes, in every notation. Pure.

A registration is refused for its notation, a probe for the address that a name stands for at that moment. The module refuses
to resolve names.
"""

import ipaddress
import socket
from functools import lru_cache

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
# Clouds give out credentials at 169.254.169.254 and, over IPv6, at fd00:ec2::254. Other IPv6 link-local addresses are reachable
# only with a zone, and stay allowed.
_LINK_LOCAL = ipaddress.IPv4Network("169.254.0.0/16")
_METADATA = ipaddress.IPv6Address("fd00:ec2::254")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@lru_cache(maxsize=4_096)
def refusal(host: str) -> str:
    """Return why a host must not be probed, such as `a link-local address`; empty for a name and for any other address.

    It takes every notation that the resolver takes: `169.254.169.254`, `0xa9fea9fe`, `::ffff:169.254.169.254`.
    """
    address = _parse_ip(host)
    if address is None:
        return ""
    if (_embedded_ipv4(address) or address) in _LINK_LOCAL:
        return "a link-local address"
    if address == _METADATA:
        return "the address of a cloud's metadata service"
    return "no address of a host" if is_no_host(address) else ""


def is_no_host(address: IpAddress) -> bool:
    """Return whether an address belongs to no single host: what servers listen on, multicast, broadcast."""
    address = _embedded_ipv4(address) or address
    return address.is_unspecified or address.is_multicast or address == _BROADCAST


def _parse_ip(host: str) -> IpAddress | None:
    """Return the address that a host is in any notation, without its zone; None for a name."""
    host = host.partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return parse_old_ipv4(host)


def parse_old_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that inet_aton(3) reads, as the resolver does: `0xa9fea9fe`, `127.1`; None for a name."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _embedded_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to: mapped, by 6to4 or by NAT64 (RFC 6052); None for others."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
