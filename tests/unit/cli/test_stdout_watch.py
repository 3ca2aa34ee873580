"""Commands that follow something end when the reader of their output has gone, although they print nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

QUIET = """
import sys, time
from minikube.cli.stdout_watch import exit_with_reader
exit_with_reader()
sys.stderr.write("follows\\n")
sys.stderr.flush()
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_a_quiet_follower_ends_with_its_reader(kind: str) -> None:
    import pty
    import socket

    ends: tuple[int, int]
    if kind == "pipe":
        ends = os.pipe()
    elif kind == "terminal":
        ends = pty.openpty()
    else:
        first, second = socket.socketpair()
        ends = (first.detach(), second.detach())
    follower = subprocess.Popen([sys.executable, "-c", QUIET], stdout=ends[1], stderr=subprocess.PIPE)
    os.close(ends[1])
    assert follower.stderr is not None
    assert follower.stderr.readline() == b"follows\n"
    os.close(ends[0])
    assert follower.wait(timeout=30) == 141
    assert follower.stderr.read() == b""
    follower.stderr.close()


def test_output_into_a_file_or_none_at_all_ends_nothing(tmp_path: Path) -> None:
    code = QUIET.replace("60", "0.3")
    for redirection in (f"> {tmp_path}/out", "> /dev/null", ">&-"):
        shell = f'exec "$0" -c "$1" {redirection}'
        done = subprocess.run(["sh", "-c", shell, sys.executable, code], stderr=subprocess.PIPE, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"follows\n")
