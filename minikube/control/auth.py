"""Access to the control API: every client must send the bearer token in `.minikube/token`, which `token_file` makes."""

from collections.abc import Collection

from minikube.net.auth import reject_web_page, require_bearer_token
from minikube.net.http_messages import Reply, Request

OPEN_PATHS = frozenset({"/health"})
"""Paths that need no token. They show any user of this machine that a server listens, nothing more."""


def authorize(request: Request, hosts: Collection[str], token: str) -> Reply | None:
    """Return the error reply to a request that is not allowed, else None.

    `hosts` are the names that the Host header may have (`net.auth.allowed_hosts`), `token` is the bearer token.
    """
    denied = reject_web_page(request, hosts)
    if denied is not None or request.path in OPEN_PATHS:
        return denied
    return require_bearer_token(
        request, token, "a bearer token is needed: Authorization: Bearer $(cat .minikube/token)"
    )
