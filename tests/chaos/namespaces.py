"""Namespaces of a run's own: a network with a loopback only, private mounts, and pids that end with its first process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.engine import remove_cgroups

SETUP = """
ip link set lo up
mount -t tmpfs -o size=256m,mode=0700 tmpfs "$0"
mkdir "$0/engine"
mount -t tmpfs -o size=512m,mode=0711 tmpfs "$0/engine"
mount -t tmpfs -o mode=0755 tmpfs /run
"$@"
exit $?
"""
"""The shell stays as process 1, and reaps what is left to it. A container engine has a disk of its own, so that the project's can
be full; and a `/run` of its own, because containerd has a fixed path there."""
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def available() -> str:
    """Return why namespaces cannot be made; empty where they can."""
    if os.geteuid() != 0:
        return "takes root: it makes namespaces and mounts a small disk"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def run_inside(directory: Path, arguments: Sequence[str]) -> int:
    """Run `python -m tests.chaos` with these arguments in namespaces, on a small disk at `directory`; return its exit code."""
    inside = [sys.executable, "-m", "tests.chaos", "--inside", str(directory), *arguments]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    try:
        command = [*UNSHARE, "sh", "-ec", SETUP, str(directory), *inside]
        return subprocess.run(command, cwd=root, env=environment).returncode
    finally:
        remove_cgroups(directory)
