"""Keeps what a process has opened from being used by its forked children. No I/O in the parent.

A child inherits the connections of its parent: both would send on them and read each other's replies. For objects that
are added here, `after_fork` is called in each child before any of its code runs.
"""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that holds connections or locks."""

    def after_fork(self) -> None:
        """Forget them, in the child. Other threads of the parent do not exist there, and their locks stay locked."""


_opened: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def add(opened: Forkable) -> None:
    """Call `opened.after_fork()` in each child that is forked while `opened` exists."""
    _opened.add(opened)


def disconnect(descriptor: int) -> None:
    """Replace the child's copy of a socket by /dev/null.

    The number stays taken, so that its owner, whatever it is, may close it later without closing another file. The
    parent's copy, and its registration with an epoll that both processes share, are left as they are.
    """
    if descriptor < 0:
        return
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.dup2(null, descriptor, inheritable=False)
    finally:
        os.close(null)


def _after_fork() -> None:
    for opened in list(_opened):
        opened.after_fork()


os.register_at_fork(after_in_child=_after_fork)
