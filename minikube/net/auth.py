"""Who may be answered over HTTP on this machine (floor 2, pure). It refuses, and says why; it never lets in by default.

A browser is the enemy here: any page can send requests to a loopback port. It cannot leave out `Origin` on what it
may read or change, and a name that was rebound to 127.0.0.1 shows as a foreign `Host`.
"""

import hmac
import ipaddress
from collections.abc import Collection

from minikube.net.http_server import Reply, Request, error_reply


def is_token(given: object, token: str) -> bool:
    """Return whether a caller's token is the right one; an empty `token` never matches.

    The comparison takes the same time however much of the token is right.
    """
    if not isinstance(given, str) or not token:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())


def allowed_hosts(listen: str, machine: str) -> frozenset[str]:
    """Names under which a listener may be addressed; `machine` is this one's, which counts where all its addresses are
    listened on. `*` stands for any IP address: no name can be rebound to those."""
    hosts = {"localhost", "127.0.0.1", "::1", listen.lower()}
    if _is_wildcard(listen):
        hosts |= {"*", machine.lower()}
    return frozenset(hosts)


def reject_web_page(request: Request, hosts: Collection[str]) -> Reply | None:
    """What to answer to a request that a web page may have sent, or None. `hosts` come from `allowed_hosts`."""
    host = parse_host_header(request.header("host"))
    if host not in hosts and not ("*" in hosts and _is_address(host)):
        return error_reply(421, "this Host is not served here — use localhost")
    if any(name == "origin" for name, _ in request.headers):
        return error_reply(403, "requests from web pages are refused")
    return None


def require_bearer_token(request: Request, token: str, wanted: str) -> Reply | None:
    """What to answer to a request without the right bearer token, or None. `wanted` names it and shows the header."""
    scheme, _, given = request.header("authorization").partition(" ")
    if scheme.lower() == "bearer" and is_token(given.strip(), token):
        return None
    return error_reply(401, wanted, (("WWW-Authenticate", 'Bearer realm="minikube"'),))


def parse_host_header(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets; empty when it is malformed."""
    header = header.lower()
    if header.startswith("["):
        name, bracket, port = header[1:].partition("]")
        well_formed = bracket and (not port or (port[0] == ":" and port[1:].isdecimal()))
    else:
        name, colon, port = header.partition(":")
        well_formed = not colon or port.isdecimal()
    return name if well_formed else ""


def _is_wildcard(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
