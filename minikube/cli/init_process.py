"""Run the command line below PID 1, where this process is that: in a container, or after `unshare --pid --fork`.

The kernel makes orphans children of PID 1, which has to reap them, and drops signals to it that have no handler. So this
process becomes a small init, and a child of it runs the command line. It refuses to know any command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

NOT_FORWARDED = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP}


def run_below_init() -> None:
    """Return in a new process; this one forwards signals to it, reaps all children, and exits with its exit code."""
    child = os.fork()
    if child == 0:
        _enter_foreground()
        return

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in signal.valid_signals() - NOT_FORWARDED:
        # What is ignored stays so, here and in the child.
        with contextlib.suppress(OSError, ValueError):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, forward)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _enter_foreground() -> None:
    """Give this process a process group of its own; make it the foreground group where there is a terminal.

    So the terminal sends Ctrl-C to this process only, which would get it twice otherwise.
    """
    os.setpgid(0, 0)
    if sys.stdin is not None and sys.stdin.isatty():
        # A background group that calls tcsetpgrp is stopped otherwise.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
        signal.signal(signal.SIGTTOU, before)
