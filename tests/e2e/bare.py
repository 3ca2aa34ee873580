"""A Debian without Python in namespaces of its own, made of essential packages and entered with nsenter."""

import os
import subprocess
from pathlib import Path
from types import TracebackType

from tests.e2e import debian
from tests.eventually import eventually

SETUP = """
ip link set lo up
mount -t proc proc "$0/proc"
mount --bind /dev "$0/dev"
echo ready
exec chroot "$0" sleep 600
"""

ENVIRONMENT = ("PATH=/usr/bin:/bin", "HOME=/root", "TERM=xterm-256color", "LANG=C.UTF-8")


class BareDebian:
    """A context manager. Processes inside see none of this machine's files, networks and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._holder: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> "BareDebian":
        self.root.mkdir()
        archive = self.root.with_suffix(".tar")
        debian.archive(archive, "busybox")
        subprocess.run(["tar", "--extract", "--file", str(archive), "-C", str(self.root)], check=True)
        unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        self._holder = subprocess.Popen(
            [*unshare, "sh", "-ec", SETUP, str(self.root)],
            stdout=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._pid = int(eventually(children.read_text))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._holder is not None
        self._holder.kill()  # --kill-child kills its child, pid 1 in there, and the kernel then kills all others
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def command(self, *argv: str, cwd: str = "/") -> list[str]:
        """Return the command line that runs `argv` inside."""
        enter = ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--net", "--root"]
        return [*enter, "env", "-i", f"--chdir={cwd}", *ENVIRONMENT, *argv]

    def run(self, *argv: str, cwd: str = "/", code: int = 0) -> str:
        """Run a command inside and return its output; fail unless it exits with `code`."""
        done = subprocess.run(self.command(*argv, cwd=cwd), capture_output=True, text=True, timeout=120)
        assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def processes(self) -> list[str]:
        """Return the command lines of all processes inside, without the one that keeps the namespaces."""
        script = 'for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || { tr "\\0" " " <$p/cmdline; echo; } 2>/dev/null; done'
        lines = [line.strip() for line in self.run("sh", "-c", script).splitlines()]
        return [line for line in lines if line and not line.startswith(("sleep 600", "tr "))]


def available() -> bool:
    """Return whether this user may make namespaces."""
    return os.geteuid() == 0
