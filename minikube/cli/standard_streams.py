"""The standard streams of a command: whatever they are, printing does not fail.

A closed descriptor becomes /dev/null, so that no file or socket of the command gets its number. A character that the
encoding does not have is written as an escape. After an error such as a full disk, output is dropped and the error is kept,
so that a command completes what it does. Only a reader that has closed its pipe is an error at once: BrokenPipeError ends
commands that follow something.
"""

import codecs
import errno
import io
import os
import select
import sys

from minikube.text import ASCII_SUBSTITUTES

TYPE_CHECKING = False  # as a constant: importing `typing` would take time in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ERROR_HANDLER = "minikube.escape"


class Output(io.FileIO):
    """A file descriptor for output whose `write` drops what cannot be written."""

    failure: OSError | None = None
    """The first error."""

    def __init__(self, descriptor: int, *, raise_broken_pipe: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._raise_broken_pipe = raise_broken_pipe

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write data, and return how much of it is dealt with. Raises BrokenPipeError if the constructor's argument says so."""
        try:
            while (count := super().write(data)) is None:
                # Another process has made the terminal or pipe non-blocking.
                select.select([], [self], [])
            return count
        except OSError as error:
            if error.errno == errno.EPIPE and self._raise_broken_pipe:
                raise
            self.failure = self.failure or error
            return memoryview(data).nbytes


def prepare_streams() -> None:
    """Replace stdout and stderr of this process by streams that can print anything; open closed descriptors."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            os.set_inheritable(descriptor, True)
    codecs.register_error(ERROR_HANDLER, _escape)
    if sys.stdin is None:
        sys.stdin = open(0)  # noqa: SIM115
    sys.stdout = _stream(1, getattr(sys.stdout, "encoding", None), raise_broken_pipe=True)
    sys.stderr = _stream(2, getattr(sys.stderr, "encoding", None), raise_broken_pipe=False)


def output_failure() -> OSError | None:
    """Flush stdout; return the first error of writing to it, or None. Raises BrokenPipeError."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, Output) else None


def _stream(descriptor: int, encoding: str | None, *, raise_broken_pipe: bool) -> io.TextIOWrapper:
    """Return a text stream for output to a descriptor."""
    output = Output(descriptor, raise_broken_pipe=raise_broken_pipe)
    by_line = descriptor == 2 or output.isatty()
    return io.TextIOWrapper(io.BufferedWriter(output), encoding or "utf-8", ERROR_HANDLER, line_buffering=by_line)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that an encoding does not have: an ASCII sign, or an escape such as `\\u20ac`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ASCII_SUBSTITUTES)
    return text.encode("ascii", "backslashreplace").decode(), error.end
