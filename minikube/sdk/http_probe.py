"""Finds out whether a peer that answers no call is an HTTP server: one waits for the rest of a request's headers.

The probe blocks for a moment, on a connection of its own: in trio and asyncio it runs in a thread. TLS is not probed.
"""

import socket
from typing import Final

from minikube.errors import Unavailable
from minikube.sdk.peer import describe_greeting
from minikube.sdk.session import Endpoints

PROBE_TIMEOUT_S: Final = 0.5
"""For the connection, and again for the first bytes: a call that failed takes at most 1 s longer."""


def explain_silence(error: Unavailable, endpoints: Endpoints) -> Unavailable:
    """Return the error to raise for a call that failed with `error`: one that says so if the peer is an HTTP server."""
    address = endpoints.current
    try:
        with socket.create_connection((address.host, address.port), timeout=PROBE_TIMEOUT_S) as probe:
            probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            greeting = probe.recv(256)
    except OSError:
        return error
    if not greeting.startswith(b"HTTP/"):
        return error
    return Unavailable(f"{address} is not a registry: {describe_greeting(greeting)}")


def may_explain(endpoints: Endpoints) -> bool:
    """Return whether `explain_silence` may find something: a registry that has answered before is none of another kind."""
    return not (endpoints.answered or endpoints.several or endpoints.current.ca)
