"""The terminal (floor 4): Textual's driver, on a terminal that may go away while it is drawn on.

Textual's thread that writes dies of the first error, and who writes then waits for it for ever. Here nothing is written any
more once it is dead, so that the dashboard can end as usual.
"""

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """Private names of Textual's are asked for where it has no public ones; without them it is Textual's own driver."""

    def write(self, data: str) -> None:
        if self._is_writing():
            super().write(data)

    def close(self) -> None:
        if self._is_writing():
            super().close()

    def let_go(self) -> None:
        """Ends the thread that reads keys: where the terminal is gone it would read the end of the file for ever."""
        self.exit_event.set()

    def _is_writing(self) -> bool:
        thread = getattr(self, "_writer_thread", None)
        return thread is not None and thread.is_alive()
