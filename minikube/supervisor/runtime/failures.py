"""Classify the errors of a runtime, and describe them for users. Pure.

A shortage of the machine (processes, descriptors, memory, disk) becomes `ResourceExhausted`; other errors are unchanged.
It refuses to decide the next state of the instance: `instance.start_errors` does.
"""

import errno

from minikube.errors import MinikubeError, ResourceExhausted, StartError
from minikube.project_dir import SUPERVISOR_LOG_NAME

SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EIO, errno.ETXTBSY})
"""Error numbers that mean a shortage, which may have passed by the next try."""


def classify(error: Exception) -> Exception:
    """Return the error inside the exception groups of nurseries; a shortage of resources as `ResourceExhausted`.

    Shortages are failures of the machine that may pass: no memory, thread, descriptor or disk space.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    # Python raises a plain RuntimeError for a thread that the kernel refused (EAGAIN).
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "new thread" in str(error)):
        return ResourceExhausted("no memory or thread left — trying again")
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return ResourceExhausted(f"{describe(error)} — trying again")
    return error


def describe(error: Exception) -> str:
    """Return a line of text about the error for users. For an error in the supervisor's code, it names the log file."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
    if isinstance(error, MinikubeError):
        return str(error)
    return f"the supervisor failed at it: {type(error).__name__} — see {SUPERVISOR_LOG_NAME}"


def is_defect(error: Exception) -> bool:
    """Return whether an error that `classify` returned is a defect in the supervisor's code, to be logged with traceback."""
    return not isinstance(error, StartError)
