"""A file that the kernel refused to execute: why, and what to do.

The kernel says only a number, the same one for several mistakes, so the file is looked at after the failure.
"""

import contextlib
import errno
import os
from pathlib import Path

LINE_BYTES = 256
"""The longest `#!` line that the kernel reads (BINPRM_BUF_SIZE)."""


def explain_refusal(path: Path, number: int) -> str:
    """Return why the kernel refused to execute a file, with the error `number`, and what to do."""
    if os.path.isdir(path):  # Path.is_dir raises PermissionError
        return "it is a directory — set command"
    if number == errno.EACCES:
        return "permission denied — make it executable (chmod +x), and its directories readable for the service's user"
    if number == errno.ENOEXEC:
        return "it is neither a program nor a script with a #! line — add the line, or run it by its interpreter"
    line = _interpreter_line(path)
    if number == errno.ENOENT and line.endswith(b"\r"):
        return f"its line {_shown(line)} ends like a Windows file's — convert the file (sed -i 's/\\r$//' {path.name})"
    if number == errno.ENOENT and line:
        return f"its line {_shown(line)} names a program that does not exist — correct it or install the program"
    if number == errno.ENOENT:
        return "the loader of this program does not exist: it is built for another system — install one for this system"
    return os.strerror(number)


def _interpreter_line(path: Path) -> bytes:
    """Return the `#!` line of a script without its line end; empty where the file has none or cannot be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if (line := file.readline(LINE_BYTES)).startswith(b"#!"):
            return line.removesuffix(b"\n")
    return b""


def _shown(line: bytes) -> str:
    """Return a line for messages, with what cannot be seen as escapes."""
    return line.decode("utf-8", "backslashreplace").replace("\r", "\\r")
