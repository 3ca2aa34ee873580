"""What some strings of a manifest mean (floor 0): addresses and signals. Pure; ValueError says what was expected."""

import ipaddress
import re
import signal

from minikube.manifest.place import nearest
from minikube.manifest.structs import HostPort


def parse_host_port(text: str) -> HostPort:
    """`127.0.0.1:5555`, `localhost:0`, `[::1]:5555`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    good = colon and host and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if good and bracketed:
        try:
            return HostPort(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            good = False
    if not good or not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError('expected host:port, such as "127.0.0.1:5555" or "[::1]:5555"')
    return HostPort(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether listening on `host` stays within this machine. A name other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def parse_signal(text: str) -> str:
    """`TERM`, `sigterm`, `15` → `TERM`. Raises ValueError."""
    names = {known.name.removeprefix("SIG"): known.value for known in signal.Signals}
    name = text.upper().removeprefix("SIG")
    if name in names:
        return name
    for known, number in names.items():
        if text == str(number):
            return known
    raise ValueError(f"expected a signal such as TERM, INT or QUIT{nearest(name, names)}")
