"""The errors that the program raises on purpose. All have one base class.

The class shows where the fault is: `UsageError` is the caller's (a manifest, an option, a request), `RemoteError` is the reply
of a peer, `Unavailable` means a peer that did not reply. Every message is one line that says what happened, to what, and
what to do next.
"""


class MinikubeError(Exception):
    """The base of all errors that the program raises on purpose. `str(error)` is safe to print on a terminal."""

    exit_code = 1


class UsageError(MinikubeError):
    """The caller passed a wrong value; nothing was changed. Exit code 2."""

    exit_code = 2


class ManifestError(UsageError):
    """The manifest is wrong. One message a line: `FILE: key.path: expected …, got … (did you mean …?)`."""


class NothingRunning(MinikubeError):
    """No supervisor runs this manifest. Exit code 3."""

    exit_code = 3


class NotFound(MinikubeError):
    """The named service, instance or id does not exist. Exit code 4."""

    exit_code = 4


class Unavailable(MinikubeError):
    """A peer (registry, Redis, supervisor) could not be reached in time; a later try may succeed."""


class Unresponsive(Unavailable):
    """The supervisor lives and does not answer: it is suspended or hangs. A later try may succeed."""


class StartError(MinikubeError):
    """A process could not be started: its port is taken, its command is missing, a permission is missing."""


class PortTaken(StartError):
    """The address of an instance cannot be listened on, as its port is taken or its host is unknown: a later start may succeed."""


class ResourceExhausted(StartError):
    """The machine has no process, descriptor, memory or disk left: a later start may succeed."""


class RemoteError(MinikubeError):
    """A peer replied with an error. `code` is the JSON-RPC code, `message` its text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
