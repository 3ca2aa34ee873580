"""The standard streams of a command: whatever they are, printing does not fail.

A closed descriptor becomes /dev/null, so that no file or socket of the command gets its number. A character that the
encoding does not have is written as an escape. File names and what a service gets are UTF-8 in any locale.
After an error such as a full disk, a command that acts completes what it does, without output; other commands end.
"""

import codecs
import errno
import io
import os
import select
import signal
import sys

from minikube.text import ASCII_SUBSTITUTES

TYPE_CHECKING = False  # as a constant: importing `typing` would take time in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

ERROR_HANDLER = "minikube.escape"
ASCII = "ascii_escaped"
"""The encoding ASCII by another name, which `doctor` prints."""

STREAMS_ENV = "MINIKUBE_STREAMS"
"""Set while the program executes itself again: it has set PYTHONIOENCODING, and removes it."""


class Output(io.FileIO):
    """A file descriptor for output. After the first error, which is kept, `write` drops everything.

    The interpreter writes once more when it exits: an error then would be printed as a traceback.
    """

    failure: OSError | None = None
    """The first error."""

    def __init__(self, descriptor: int, raised: "Callable[[OSError], bool]") -> None:
        """`raised` returns whether `write` raises the first error."""
        super().__init__(descriptor, "w", closefd=False)
        self._raised = raised

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write data, and return how much of it is dealt with."""
        try:
            while self.failure is None:
                if (count := super().write(data)) is not None:
                    return count
                select.select([], [self], [])  # another process has made the terminal or pipe non-blocking
        except OSError as error:
            self.failure = error
            if self._raised(error):
                raise
        return memoryview(data).nbytes


def use_utf8() -> None:
    """Execute this program again in Python's UTF-8 mode where the locale has another encoding; return in that mode.

    A manifest is UTF-8, so its words, variables and paths reach a service as UTF-8, whatever the locale of the terminal is. The
    standard streams keep the encoding of the locale.
    """
    if os.environ.pop(STREAMS_ENV, ""):
        del os.environ["PYTHONIOENCODING"]
    elif sys.getfilesystemencoding() != "utf-8":
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        # Else each service would get the variable, and with it another encoding than by itself.
        own = {} if os.environ.get("PYTHONIOENCODING") else {"PYTHONIOENCODING": encoding, STREAMS_ENV: encoding}
        os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], {**os.environ, **own})


def prepare_streams(*, drop_output: bool) -> None:
    """Replace stdout and stderr of this process by streams that can print any text; open closed descriptors.

    `drop_output`: after an error of stdout go on without output, unless its reader is gone.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            os.set_inheritable(descriptor, True)
    codecs.register_error(ERROR_HANDLER, _escape)
    codecs.register(_find_ascii)
    if sys.stdin is None:
        sys.stdin = open(0)  # noqa: SIM115
    sys.stdout = _stream(1, getattr(sys.stdout, "encoding", None), _is_closed if drop_output else lambda _: True)
    sys.stderr = _stream(2, getattr(sys.stderr, "encoding", None), lambda _: False)


def output_failure() -> OSError | None:
    """Return the first error of writing to stdout, or None."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, Output) else None


def _is_closed(error: OSError) -> bool:
    """Return whether nothing reads the output any more: a pipe's reader has ended, or the terminal was closed."""
    # With HUP ignored, as by nohup, the user wants the command to outlive its terminal.
    hung_up = error.errno == errno.EIO and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    return error.errno == errno.EPIPE or hung_up


def _stream(descriptor: int, encoding: str | None, raised: "Callable[[OSError], bool]") -> io.TextIOWrapper:
    """Return a text stream for output to a descriptor."""
    output = Output(descriptor, raised)
    by_line = descriptor == 2 or output.isatty()
    encoding = encoding or "utf-8"
    # Under another name, as click writes UTF-8 into a stream with the encoding `ascii`, which it takes for an oversight.
    encoding = ASCII if codecs.lookup(encoding).name == "ascii" else encoding
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, ERROR_HANDLER, line_buffering=by_line)


def _find_ascii(name: str) -> "codecs.CodecInfo | None":
    """Return the codec `ASCII`; None for other names."""
    if name != ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        incrementalencoder=found.incrementalencoder,
        incrementaldecoder=found.incrementaldecoder,
        name=ASCII,
    )


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that an encoding does not have: an ASCII sign, or an escape such as `\\u20ac`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ASCII_SUBSTITUTES)
    return text.encode("ascii", "backslashreplace").decode(), error.end
