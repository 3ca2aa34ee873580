"""`host:port` as a text, both ways (floor 0). It imports nothing; which hosts and ports are good is the caller's matter."""


def join_host_port(host: str, port: int) -> str:
    """`127.0.0.1:5555`; an IPv6 address in brackets: `[::1]:5555`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str) -> tuple[str, int]:
    """The host, without brackets, and the port, 0 to 65535. Raises ValueError where either is missing."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or "[" in host or "]" in host:
        raise ValueError(f"no host:port: {text!r}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ValueError(f"no port of 0 to 65535: {text!r}")
    return host, int(port)
