"""Which HTTP requests are allowed: the only comparison of tokens, and checks against requests from web pages.

Any web page in the user's browser can send requests to a loopback port. A browser always sets `Origin` on what a page may
read or change, and a DNS name that was rebound to 127.0.0.1 shows as a foreign `Host`: both are rejected here. Only the
server's own origin is accepted: no page of another program has it. This module does not know which paths need a token.
"""

import hmac
import ipaddress
from collections.abc import Collection

from minikube.net.http_messages import Reply, Request, error_reply

ANY_ADDRESS = "*"
"""An item of the set of allowed hosts that allows every IP address: an IP address cannot be rebound, unlike a DNS name."""


def is_token(given: object, token: str) -> bool:
    """Return whether `given` equals `token`; False for an empty `token`.

    The comparison takes the same time however much of the token is right.
    """
    if not isinstance(given, str) or not token:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())


def allowed_hosts(listen: str, machine: str) -> frozenset[str]:
    """Return the host names by which clients may address a server that listens on `listen`.

    The name `machine` and every IP address are allowed if the server listens on all addresses of the machine.
    """
    hosts = {"localhost", "127.0.0.1", "::1", listen.lower()}
    if _is_address(listen) and ipaddress.ip_address(listen).is_unspecified:
        hosts |= {ANY_ADDRESS, machine.lower()}
    return frozenset(hosts)


def reject_web_page(request: Request, hosts: Collection[str]) -> Reply | None:
    """Return the error reply to a request that a web page may have sent, else None. `hosts` are the `allowed_hosts`."""
    authority = request.header("host").lower()
    host = parse_host_header(authority)
    if host not in hosts and not (ANY_ADDRESS in hosts and _is_address(host)):
        return error_reply(421, "this Host is not served here — use localhost")
    # The Host is one of ours, so an Origin with the same host and port is, too. `null` (a file, a sandboxed frame) is none.
    if any(name == "origin" and value.lower() != f"http://{authority}" for name, value in request.headers):
        return error_reply(403, "requests from web pages are refused")
    return None


def require_bearer_token(request: Request, token: str, message: str) -> Reply | None:
    """Return the error reply to a request without the bearer token, else None. `message` says which header is needed."""
    scheme, _, given = request.header("authorization").partition(" ")
    if scheme.lower() == "bearer" and is_token(given.strip(), token):
        return None
    return error_reply(401, message, (("WWW-Authenticate", 'Bearer realm="minikube"'),))


def parse_host_header(header: str) -> str:
    """Return the host of a Host header in lower case, without port and brackets; empty if the header is malformed."""
    header = header.lower()
    if header.startswith("["):
        host, bracket, port = header[1:].partition("]")
        is_valid = bracket and (not port or (port[0] == ":" and port[1:].isdecimal()))
    else:
        host, colon, port = header.partition(":")
        is_valid = not colon or port.isdecimal()
    return host if is_valid else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
