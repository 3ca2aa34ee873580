"""Who may speak to the control API (floor 3, pure). It refuses, and says why; it never lets in by default."""

from collections.abc import Collection

from minikube.net.auth import refuse_bearer, refuse_page
from minikube.net.http_server import Reply, Request

OPEN_PATHS = frozenset({"/health"})
"""Told to anyone on this machine: that something listens, nothing more."""


def refuse(request: Request, hosts: Collection[str], token: str) -> Reply | None:
    """What to answer to a request that may not be heard, or None."""
    refusal = refuse_page(request, hosts)
    if refusal is not None or request.path in OPEN_PATHS:
        return refusal
    return refuse_bearer(request, token, "a bearer token is needed: Authorization: Bearer $(cat .minikube/token)")
