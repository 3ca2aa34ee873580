"""How a process or container ended. Pure."""

import signal

from msgspec import Struct


class Exit(Struct, frozen=True):
    """How a process ended. `status` is its exit code, or minus the number of the signal that killed it, as in `subprocess`."""

    status: int
    note: str = ""
    """Why the kernel killed it, where that is known (out of memory)."""

    @property
    def code(self) -> int:
        """The exit code as a shell reports it: 143 for a process killed by TERM."""
        return self.status if self.status >= 0 else 128 - self.status

    @property
    def clean(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        if self.status >= 0:
            return f"exit {self.status}{note}"
        try:
            return f"signal {signal.Signals(-self.status).name.removeprefix('SIG')}{note}"
        except ValueError:
            return f"signal {-self.status}{note}"
