"""What is said where a server of ours cannot listen (floor 2, pure)."""

import errno

from minikube.errors import StartError


def listen_error(who: str, where: object, error: OSError, remedy: str) -> StartError:
    """What to raise. `where` is the address asked for, `remedy` how to ask for another one.

    A name that cannot be resolved has numbers of its own (`EAI_…`, below zero), hence no `os.strerror` here.
    """
    if error.errno == errno.EADDRINUSE:
        remedy = f"stop what listens there or {remedy}"
    return StartError(f"{who}: cannot listen on {where}: {error.strerror or error} — {remedy}")
