"""The exit of a process or container: exit code, or signal. Pure."""

import signal

from msgspec import Struct


class Exit(Struct, frozen=True):
    """The exit of a process or container.

    `status` is the exit code, or minus the number of the signal that killed the process, as in `subprocess`.
    """

    status: int
    note: str = ""
    """The reason of a kill where it is known, such as `out of memory, limits.memory`."""

    @property
    def code(self) -> int:
        """The exit code as a shell reports it: 143 for a process killed by TERM."""
        return self.status if self.status >= 0 else 128 - self.status

    @property
    def clean(self) -> bool:
        """Whether the exit code is 0."""
        return self.status == 0

    def __str__(self) -> str:
        """Return `exit 3` or `signal TERM`, with the note in parentheses."""
        note = f" ({self.note})" if self.note else ""
        if self.status >= 0:
            return f"exit {self.status}{note}"
        try:
            return f"signal {signal.Signals(-self.status).name.removeprefix('SIG')}{note}"
        except ValueError:
            return f"signal {-self.status}{note}"
