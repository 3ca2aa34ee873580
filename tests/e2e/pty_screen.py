"""A command on a pseudo-terminal: raw bytes in, any window size, raw bytes out."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

from tests.e2e.running import MINIKUBE
from tests.eventually import PATIENCE_S
from tests.untraced import untraced


class Screen:
    """A command on a pseudo-terminal that is its controlling terminal."""

    def __init__(self, arguments: list[str], directory: Path, **env: str) -> None:
        """Run `minikube` with these arguments in `directory`."""
        master, slave = pty.openpty()
        self.master = master
        self.resize(80, 24)
        env = {**untraced(), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env}
        command = ["setsid", "--ctty", MINIKUBE, *arguments]
        self.process = subprocess.Popen(command, cwd=directory, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)
        self.output = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.master, data)

    def read(self, seconds: float) -> None:
        """Read what it prints, for this long or until it exits."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self.process.poll() is None:
            if select.select([self.master], [], [], min(left, 0.1))[0]:
                with contextlib.suppress(OSError):
                    self.output = (self.output + os.read(self.master, 65536))[-200_000:]

    def wait_for(self, words: str) -> None:
        """Read until it has printed `words`."""
        end = time.monotonic() + PATIENCE_S
        while words.encode() not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, f"{words!r} is not in {self.output!r}"
            self.read(0.05)

    def wait_exit(self) -> int | None:
        """Read until it exits; return its exit code, None where it does not exit."""
        self.read(PATIENCE_S)
        return self.process.poll()

    def modes(self) -> list[Any]:
        """Return the terminal's modes, as termios has them."""
        return termios.tcgetattr(self.master)

    def close(self) -> None:
        """Close the terminal, and kill what does not end with it."""
        os.close(self.master)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
