"""The one family of errors (floor 0). Imports nothing of the project; holds no policy.

The class says whose fault it is: `UsageError` is the caller's (a manifest, an option, a request),
`RemoteError` is what a peer answered, `Unavailable` is a peer that did not answer. Every message is one
line that tells what happened, to what, and what to do next.
"""


class MinikubeError(Exception):
    """Base of everything that this project raises on purpose. `str(error)` is fit for a terminal."""

    exit_code = 1


class UsageError(MinikubeError):
    """The caller passed something wrong; nothing was changed. Exit code 2."""

    exit_code = 2


class ManifestError(UsageError):
    """The manifest is wrong. One message a line: `FILE: key.path: expected …, got … (did you mean …?)`."""


class NothingRunning(MinikubeError):
    """There is no supervisor for this manifest. Exit code 3."""

    exit_code = 3


class NotFound(MinikubeError):
    """The named service, instance or id does not exist. Exit code 4."""

    exit_code = 4


class Unavailable(MinikubeError):
    """A peer (registry, store, supervisor) could not be reached in time; trying again later is sensible."""


class StartError(MinikubeError):
    """A process of ours could not be started: port taken, command missing, no permission."""


class PortTaken(StartError):
    """Another process listens on the port of an instance: a later start may succeed."""


class ResourceExhausted(StartError):
    """The machine has no process, descriptor, memory or disk left: a later start may succeed."""


class RemoteError(MinikubeError):
    """A peer answered with an error of its own: `code` is the JSON-RPC code, `message` its text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
