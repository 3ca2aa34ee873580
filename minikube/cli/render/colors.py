"""Colours of the plain output (floor 4, pure): one for each instance, always the same. None without a terminal."""

import os
import zlib
from typing import IO

from minikube.model import CheckState, ProcessState

# Not red (errors), not white or grey (text); bright ones last, they are paler on some terminals.
INSTANCE_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
RED, GREEN, YELLOW, DIM, BOLD = 31, 32, 33, 2, 1

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
    """Whether to colour: on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb; FORCE_COLOR insists."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: int | None, wanted: bool) -> str:
    """`text` in an SGR colour."""
    return f"\x1b[{colour}m{text}\x1b[0m" if wanted and colour is not None else text


def instance_colour(name: str) -> int:
    """The colour of an instance's name: the same in every run and window, and another for each replica."""
    head, _, number = name.rpartition("-")
    service, replica = (head, int(number)) if number.isdecimal() and len(number) < 6 else (name, 0)
    place = zlib.crc32(service.encode("utf-8", "surrogatepass")) + replica
    return INSTANCE_COLOURS[place % len(INSTANCE_COLOURS)]
