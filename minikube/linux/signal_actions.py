"""Reset the actions of all signals, before this process is replaced by another program (signal(7)).

A signal that is ignored stays ignored through exec; a handler does not. Standard library only.
"""

import contextlib
import signal
from collections.abc import Container

_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
_RESERVED = (32, 33)
"""The signals that the C library keeps for itself, and that `signal.signal` refuses."""


def reset_signals(kept: Container[int] = ()) -> None:
    """Unblock all signals and set the default action for each. Those in `kept` that are ignored stay ignored."""
    for number in range(1, signal.NSIG):
        # SIGKILL and SIGSTOP cannot be set, the reserved ones only by a system call.
        with contextlib.suppress(OSError, ValueError):
            if number not in kept or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
    ignored = _ignored_mask()
    if any(ignored >> (number - 1) & 1 for number in _RESERVED):
        _reset_reserved()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _ignored_mask() -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("SigIgn:"):
                return int(line.split()[1], 16)
    return 0


def _reset_reserved() -> None:
    import ctypes  # late: the import takes 10 ms
    import os

    action = ctypes.create_string_buffer(64)  # struct kernel_sigaction with SIG_DFL, which is 0
    if number := _RT_SIGACTION.get(os.uname().machine):
        for reserved in _RESERVED:
            ctypes.CDLL(None).syscall(number, reserved, action, None, 8)
