"""Textual's driver for Linux terminals, able to survive any input, a closed terminal, and an encoding that is not UTF-8.

It reads private names of Textual's: pyproject.toml pins Textual's minor version for that reason.
"""

import codecs
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.cells import cell_len
from textual import events
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from minikube.text import ASCII_SUBSTITUTES

POLL_MS = 100
"""How often the thread that reads keys looks whether it has to end, and whether a half escape sequence is a key."""

READ_BYTES = 4096

UNKNOWN = "\ufffd"
"""What the decoder puts in place of bytes that are no text in the terminal's encoding."""


class InputEnded(Message):
    """Nothing can be read from the terminal any more."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class TerminalDriver(LinuxDriver):
    """Textual's `LinuxDriver`, except that bytes that are no text are ignored, and output to a closed terminal is dropped."""

    # Textual writes to the terminal from a thread with a bounded queue. The thread ends at the first write error, such as
    # a closed terminal; after that `write` and `close` would block on the full queue for ever.

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        ignores_stop = signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        if ignores_stop:
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # Textual sets a handler whatever was set before

    def write(self, data: str) -> None:
        """Queue `data` for the terminal, or drop it when the writing thread has ended."""
        if self._can_write():
            super().write(encodable(data, getattr(sys.__stderr__, "encoding", None) or "utf-8"))

    def close(self) -> None:
        """End the writing thread, unless it has ended already."""
        if self._can_write():
            super().close()

    # Textual leaves and takes the terminal within the signal's handler. That interrupts the main thread anywhere, also while
    # it holds the lock of the queue of the writing thread, for which `write` would then wait for ever.

    def _sigtstp_application(self, *_: Any) -> None:
        """Leave the terminal and stop this process, in the event loop, after TSTP."""
        self._loop.call_soon_threadsafe(super()._sigtstp_application)

    def _sigcont_application(self, *_: Any) -> None:
        """Take the terminal over again, in the event loop, after CONT."""
        self._loop.call_soon_threadsafe(super()._sigcont_application)

    def resume_application_mode(self) -> None:
        """Take the terminal over again. Textual calls it at each CONT."""
        # After STOP, which no program can handle, the modes are those of the shell, but the threads of before are there: a
        # second thread that reads keys would get every other key.
        if self._key_thread is not None and self._key_thread.is_alive():
            self.suspend_application_mode()
        super().resume_application_mode()

    def stop_reading_keys(self) -> None:
        """End the thread that reads keys."""
        self.exit_event.set()

    def run_input_thread(self) -> None:
        """Read keys, mouse events and the terminal's answers, and post them, until `exit_event` is set or the input ends."""
        # In place of Textual's own loop, which a byte that is no UTF-8 ends, and which reads the end of the file for ever.
        keys = KeyDecoder(self._debug, getattr(sys.__stdin__, "encoding", None) or "utf-8")
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        while not self.exit_event.is_set():
            if not poll.poll(POLL_MS):
                self._post(keys.tick())
                continue
            try:
                data = os.read(self.fileno, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self.send_message(InputEnded(f"the terminal was closed ({os.strerror(error.errno or 0).lower()})"))
                return
            if not data:
                self.send_message(InputEnded("the terminal's input has ended"))
                return
            self._post(keys.feed(data))

    def _post(self, messages: Iterable[Message]) -> None:
        """Post messages to the app."""
        for message in messages:
            self.process_message(message)

    def _can_write(self) -> bool:
        """Return whether the writing thread is alive."""
        thread = self._writer_thread
        return thread is not None and thread.is_alive()


class KeyDecoder:
    """Turns bytes of a terminal into Textual's events; no bytes make it raise."""

    def __init__(self, debug: bool, encoding: str) -> None:
        self._debug = debug
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._parser = XTermParser(debug)

    def feed(self, data: bytes) -> list[Message]:
        """Return the events of these bytes, without keys for bytes that are no text."""
        text = self._decoder.decode(data)
        return self._parse(lambda: self._parser.feed(text)) if text else []

    def tick(self) -> list[Message]:
        """Return the events of an incomplete escape sequence that nothing followed."""
        return self._parse(self._parser.tick)

    def _parse(self, parse: Callable[[], Iterable[Message]]) -> list[Message]:
        """Return the events that `parse` yields."""
        found: list[Message] = []
        try:
            found.extend(parse())
        except Exception:
            # Textual's parser raises for numbers that are out of range, such as a key's code in `\x1b[9999999u`, and
            # cannot be used any more: its generator has ended. What it had read of the sequence is lost.
            self._parser = XTermParser(self._debug)
        # The bytes that are no text went through the parser: a mouse report has a fixed number of them.
        return [message for message in found if not (isinstance(message, events.Key) and message.character == UNKNOWN)]


def encodable(text: str, encoding: str) -> str:
    """Return the text with substitutes of the same width for what the encoding does not have."""
    try:
        text.encode(encoding)
        return text
    except UnicodeError:
        text = text.translate(ASCII_SUBSTITUTES)
        return "".join(char if _has(char, encoding) else "?" * cell_len(char) for char in text)


def _has(char: str, encoding: str) -> bool:
    """Return whether the encoding has this character."""
    try:
        char.encode(encoding)
    except UnicodeError:
        return False
    return True
