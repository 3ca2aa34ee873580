"""The error for an address that a server cannot listen on."""

import errno

from minikube.errors import StartError


def listen_error(component: str, address: object, error: OSError, remedy: str) -> StartError:
    """Return the error for an address that `component` cannot listen on.

    `remedy` tells the user how to choose another address, such as "set control.listen".
    """
    if error.errno == errno.EADDRINUSE:
        remedy = f"stop what listens there or {remedy}"
    # Not `os.strerror`: a name that cannot be resolved has numbers of its own (`EAI_…`, below zero).
    return StartError(f"{component}: cannot listen on {address}: {error.strerror or error} — {remedy}")
