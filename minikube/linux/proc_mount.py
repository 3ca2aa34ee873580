"""Make `/proc` show the processes of this pid namespace (pid_namespaces(7)).

After `unshare --pid` without `--mount-proc` it shows those of another namespace, with other pids: signals would go to the
wrong processes. Standard library only.
"""

import os

from minikube.errors import StartError

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8


def ensure_own_proc() -> None:
    """Mount another `/proc`, in a mount namespace of its own, where that is needed. Raises `StartError` where it may not."""
    try:
        if os.readlink("/proc/self") == str(os.getpid()):
            return
    except OSError:
        return  # there is no /proc: `doctor` tells it
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.unshare(CLONE_NEWNS) != 0
        or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0
        or libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID_NODEV_NOEXEC, None) != 0
    ):
        raise StartError(
            "/proc shows the processes of another pid namespace, and no other one can be mounted"
            f" ({os.strerror(ctypes.get_errno()).lower()}) — use `unshare --mount-proc`"
        )
