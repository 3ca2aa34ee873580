"""`host:port` as text, in both directions. It imports nothing and does not judge hosts or ports."""

WILDCARD_HOSTS = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of a machine, where a program listens on them."""


def join_host_port(host: str, port: int) -> str:
    """Return `127.0.0.1:5555`, or with an IPv6 address in brackets `[::1]:5555`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str) -> tuple[str, int]:
    """Return the host without brackets and the port, 0 to 65535. Raises ValueError where one is missing or malformed."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or "[" in host or "]" in host:
        raise ValueError(f"no host:port: {text!r}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ValueError(f"no port of 0 to 65535: {text!r}")
    return host, int(port)
