"""Textual's driver for Linux terminals, able to exit after the terminal was closed.

It reads private names of Textual's: pyproject.toml pins Textual's minor version for that reason.
"""

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """Textual's `LinuxDriver`, except that it drops output after the terminal was closed."""

    # Textual writes to the terminal from a thread with a bounded queue. The thread ends at the first write error, such as
    # a closed terminal; after that `write` and `close` would block on the full queue for ever.

    def write(self, data: str) -> None:
        """Queue `data` for the terminal, or drop it when the writing thread has ended."""
        if self._can_write():
            super().write(data)

    def close(self) -> None:
        """End the writing thread, unless it has ended already."""
        if self._can_write():
            super().close()

    def stop_reading_keys(self) -> None:
        """End the thread that reads keys."""
        # On a closed terminal that thread reads the end of the file again and again, and keeps the process alive.
        self.exit_event.set()

    def _can_write(self) -> bool:
        """Return whether the writing thread is alive."""
        thread = self._writer_thread
        return thread is not None and thread.is_alive()
