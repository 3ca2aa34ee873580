"""The append-only file of the embedded Redis: mend its end after a power cut, and say how to go on where it cannot be read.

Redis itself cuts an incomplete last command. It refuses a file that ends in bytes that are no command, such as the zeros that a
file system leaves after a power cut. These are moved to a file beside the data. It refuses to cut where commands follow the
damage: only a user can decide that they are to be lost. Imports no trio.
"""

import contextlib
import itertools
import os
import re
import time
from pathlib import Path

from minikube.errors import StartError
from minikube.project_dir import PROJECT_DIR, REDIS_DATA_DIR
from minikube.supervisor.backing.redis_program import PROGRAM_ENV, read_writer

MANIFEST = Path("appendonlydir", "appendonly.aof.manifest")
INCREMENT = re.compile(r"^file (\S+) seq \d+ type i\b", re.MULTILINE)
"""The line of the manifest for a file of commands."""

COMMAND = re.compile(rb"\*(\d{1,7})\r\n")
ARGUMENT = re.compile(rb"\$(\d{1,10})\r\n")
ANNOTATION = re.compile(rb"#[^\r\n]*\r\n")
"""A line with a time stamp (`aof-timestamp-enabled`)."""

TAIL_LIMIT = 64 * 1024 * 1024
"""How much of the end of a file may be cut."""

LOG_PREFIX = re.compile(r"^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ (?P<level>[-.*#]) ")
"""Before each line of the log of Redis: pid, role, time, level."""

TRUNCATED = "loaded anyway because aof-load-truncated"
"""In the log line of a Redis that has cut an incomplete last command."""


def mend_tail(project_dir: Path) -> str:
    """Move what is no command from the end of the append-only file to a file beside it; return a message, empty where all is well.

    Raises `StartError` where the disk has no room for that file.
    """
    data = project_dir / REDIS_DATA_DIR
    try:
        names = INCREMENT.findall((data / MANIFEST).read_text("utf-8", "replace"))
        path = data / MANIFEST.parent / names[-1] if names else None
        if path is None or path.parent != data / MANIFEST.parent or not _is_suspicious(path):
            return ""
        content = path.read_bytes()
    except OSError:
        return ""  # no such file yet; one that cannot be read is Redis' to report
    end = find_end(content)
    tail = content[end:]
    if not tail or len(tail) > TAIL_LIMIT or _has_command(tail):
        return ""
    try:
        kept = _save_tail(data, path.name, tail)
        os.truncate(path, end)
    except OSError as error:
        raise StartError(f"redis: cannot mend {path.name}: {error.strerror}") from None
    shown = f"{PROJECT_DIR}/{REDIS_DATA_DIR}/{kept}"
    return f"redis: the last {len(tail)} bytes of {path.name} were no commands, as after a power cut: moved to {shown}"


def _save_tail(data: Path, name: str, tail: bytes) -> str:
    """Write the tail of the file `name` to a new file in the directory `data`, and onto the disk; return that file's name."""
    stem = f"{name}.tail-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        kept = stem if number == 1 else f"{stem}-{number}"
        with contextlib.suppress(FileExistsError), (data / kept).open("xb") as file:
            file.write(tail)
            file.flush()
            # Before the file is cut: after another power cut, one of the two has the tail.
            os.fsync(file.fileno())
            return kept
    raise AssertionError


def _is_suspicious(path: Path) -> bool:
    """Return whether a file does not end as a command does. A whole file need not be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(max(size - 2, 0))
        return file.read() != b"\r\n"


def find_end(content: bytes) -> int:
    """Return the offset after the last complete command from the beginning of an append-only file."""
    end = 0
    while (after := _after_command(content, end)) > end:
        end = after
    return end


def _after_command(content: bytes, start: int) -> int:
    """Return the offset after the command or annotation at `start`; `start` where there is no complete one."""
    if found := ANNOTATION.match(content, start):
        return found.end()
    if (found := COMMAND.match(content, start)) is None or found[1] == b"0":
        return start
    position = found.end()
    for _ in range(int(found[1])):
        argument = ARGUMENT.match(content, position)
        if argument is None:
            return start
        position = argument.end() + int(argument[1])
        if content[position : position + 2] != b"\r\n":
            return start
        position += 2
    return position


def _has_command(tail: bytes) -> bool:
    """Return whether a complete command begins anywhere in `tail`."""
    return any(_after_command(tail, found.start()) > found.start() for found in COMMAND.finditer(tail))


def last_warnings(lines: tuple[str, ...]) -> str:
    """Return the last two warnings in the log of a Redis that has ended, else its last line; without their prefixes."""
    warnings = [line for line in lines if (found := LOG_PREFIX.match(line)) and found["level"] == "#"]
    telling = [line for line in warnings if "now ready to exit" not in line and "overcommit" not in line]
    return "; ".join(LOG_PREFIX.sub("", line).strip() for line in telling[-2:] or lines[-1:])


def recovery_advice(project_dir: Path, program: str) -> str:
    """Return what a user can do about a Redis that cannot load its data: use the program that wrote them, or begin without."""
    advice = ""
    data = f"{PROJECT_DIR}/{REDIS_DATA_DIR}"
    writer = read_writer(project_dir / REDIS_DATA_DIR)
    if writer is not None and writer.program != program:
        is_there = os.access(writer.program, os.X_OK)
        how = f"set {PROGRAM_ENV}={writer.program}" if is_there else f"install it and set {PROGRAM_ENV}"
        advice = f"{writer.version} ({writer.program}) wrote the data: {how}; or "
    with contextlib.suppress(OSError):
        if not any((project_dir / REDIS_DATA_DIR).iterdir()):
            return ""
    return f"{advice}start without the data: mv {data} {data}.old"
