"""The modes of a terminal: remember them before a full-screen program runs, and restore them after it has died.

It refuses to touch a terminal after a program that has restored the modes itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from typing import Any

RESET = "".join(
    (
        "\x1b[?2026l",  # synchronized output: a terminal may show nothing until it ends
        "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1016l\x1b[?1006l",  # mouse reports
        "\x1b[?1004l",  # focus reports
        "\x1b[?2004l",  # bracketed paste
        "\x1b[?2048l",  # reports of the window's size
        "\x1b[<u",  # the kitty keyboard protocol; each screen has its own, so before the alternate screen is left
        "\x1b[?7h",  # wrap long lines
        "\x1b[0m",  # colours
        "\x1b[?1049l",  # leave the alternate screen
        "\x1b[?25h",  # show the cursor
        "\r\n",
    )
)
"""The control sequences that turn off what a full-screen program may have turned on."""


class TerminalModes:
    """The modes of the terminal at a file descriptor, as they are when this object is made."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        """Remember the modes of `input_fd`; control sequences are written to `output_fd`."""
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._attributes: list[Any] | None = None
        with contextlib.suppress(termios.error):
            self._attributes = termios.tcgetattr(input_fd)

    def restore(self) -> None:
        """Restore the modes, leave the alternate screen, and discard typed keys. A closed terminal is ignored."""
        # A background process that sets modes is stopped by TTOU; the shell may have taken the terminal over already.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            if self._attributes is not None:
                with contextlib.suppress(termios.error):
                    # TCSAFLUSH also discards input: answers of the terminal to queries would be typed into the shell.
                    termios.tcsetattr(self._input_fd, termios.TCSAFLUSH, self._attributes)
            with contextlib.suppress(OSError):
                os.write(self._output_fd, RESET.encode())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
