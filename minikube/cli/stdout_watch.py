"""Notices that the reader of stdout has gone: `minikube logs -f | grep -m1 ready` must end although no line is written.

A write fails only when there is a line to write; poll(2) tells it at once. It refuses to look at stdout that is a file.
"""

import os
import select
import threading
from collections.abc import Callable

from minikube.cli.exit_codes import OUTPUT_CLOSED


def exit_with_reader() -> None:
    """Exit this process with `OUTPUT_CLOSED` as soon as stdout has no reader any more. For commands that follow something."""
    # Without the interpreter's cleanup: it would flush stdout, and nothing is left to clean up.
    call_without_reader(lambda: os._exit(OUTPUT_CLOSED))


def call_without_reader(on_closed: Callable[[], object]) -> None:
    """Call `on_closed` once, in a thread, when stdout has no reader any more. Return immediately."""
    threading.Thread(target=_wait, args=(on_closed,), name="stdout", daemon=True).start()


def _wait(on_closed: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(1, 0)  # no event is asked for: errors and hang-ups are reported always
    found = poll.poll()
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in found):
        on_closed()
