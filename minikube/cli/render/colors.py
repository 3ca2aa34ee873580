"""Colours of text output: of states, and one for each instance, the same in every run. Pure but for `has_colour`."""

import os
import zlib
from typing import IO

from minikube.model import CheckState, ProcessState

# Without red (errors), white and grey (text). Bright colours come last: some terminals show them too pale.
INSTANCE_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
RED, GREEN, YELLOW, DIM = 31, 32, 33, 2

STATE_COLOURS: dict[str, int] = {
    ProcessState.RUNNING: GREEN,
    ProcessState.STARTING: YELLOW,
    ProcessState.PENDING: YELLOW,
    ProcessState.STOPPING: YELLOW,
    ProcessState.BACKOFF: RED,
    ProcessState.FATAL: RED,
    CheckState.PASSING: GREEN,
    CheckState.CRITICAL: RED,
    CheckState.MAINTENANCE: YELLOW,
}


def has_colour(stream: IO[str]) -> bool:
    """Return whether to print colours on `stream`: never with NO_COLOR (no-color.org), else always with FORCE_COLOR.

    Without these variables: on a terminal, unless TERM is `dumb`.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: int | None, enabled: bool) -> str:
    """Return `text` in a colour (an SGR number); unchanged where `colour` is None or `enabled` is false."""
    return f"\x1b[{colour}m{text}\x1b[0m" if enabled and colour is not None else text


def instance_colour(name: str) -> int:
    """Return the colour of an instance as an SGR number: the same in every run, another for each of the first replicas."""
    head, _, number = name.rpartition("-")
    service, replica = (head, int(number)) if number.isdecimal() and len(number) < 6 else (name, 0)
    index = zlib.crc32(service.encode("utf-8", "surrogatepass")) + replica
    return INSTANCE_COLOURS[index % len(INSTANCE_COLOURS)]
