"""The errors that the program raises on purpose. All have one base class.

The class shows where the fault is: `UsageError` is the caller's (a manifest, an option, a request), `RemoteError` is the reply
of a peer, `Unavailable` means a peer that did not reply. Every message is one line that says what happened, to what, and
what to do next.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a manifest, or a warning about it, with its place. `str()` returns it as one line."""

    file: str
    message: str
    path: str = ""
    """The full path of the key, such as `services.web.port`; empty where no key is meant."""
    line: int | None = None
    """From 1; None where the file cannot be read."""
    column: int | None = None
    """From 1, in characters."""

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        return ": ".join(part for part in (place, self.path, self.message) if part)


class MinikubeError(Exception):
    """The base of all errors that the program raises on purpose. `str(error)` is safe to print on a terminal."""

    exit_code = 1


class UsageError(MinikubeError):
    """The caller passed a wrong value; nothing was changed. Exit code 2."""

    exit_code = 2


class ManifestError(UsageError):
    """The manifest is wrong. One problem a line: `FILE:LINE:COLUMN: key.path: expected …, got … (did you mean …?)`."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


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
