"""What went wrong with a start (floor 3, pure): in one line for people, and what becomes of the instance.

A shortage of the machine is nobody's failed start; a port that is taken may be free later; any other `StartError` would be
the same again, and is fatal at once; what is neither the user's nor the machine's fault is a defect of ours, and ends one
life, not the project.
"""

import errno

from minikube.errors import MinikubeError, StartError
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.lifecycle import Life, Policy

SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EIO, errno.ETXTBSY})


class Starved(StartError):
    """The machine has no process, descriptor or memory left: worth another try."""


class PortTaken(StartError):
    """Someone else listens on the instance's port."""


def understood(error: Exception) -> Exception:
    """An error from within a runtime, out of the groups that nurseries put it in; a shortage of the machine as `Starved`."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    # Python tells a thread that the kernel refused (EAGAIN) as a plain RuntimeError.
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "new thread" in str(error)):
        return Starved("no memory or thread left — trying again")
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return Starved(f"{told(error)} — trying again")
    return error


def told(error: Exception) -> str:
    """In one line. Of what is neither ours nor the system's, only where to read more."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
    if isinstance(error, MinikubeError):
        return str(error)
    return f"the supervisor failed at it: {type(error).__name__} — see .minikube/logs/supervisor.log"


def is_defect(error: Exception) -> bool:
    """Whether an error that was `understood` is to be looked into by us."""
    return not isinstance(error, StartError)


def after(error: Exception, life: Life, policy: Policy, now: float, jitter: float) -> Life:
    """Where an instance stands once its start has come to an error that was `understood`."""
    if isinstance(error, Starved):
        return lifecycle.starved(life, policy, str(error), now, jitter)
    if isinstance(error, StartError) and not isinstance(error, PortTaken):
        return lifecycle.cannot_execute(life, str(error))
    return lifecycle.refused(life, policy, told(error), now, jitter)
