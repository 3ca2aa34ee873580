"""A child that must not outlive its parent: the kernel signals it."""

import subprocess
import sys

import psutil
import pytest

SCRIPT = """
import os, signal, sys, time
from minikube.linux.processes import exit_with_parent
parent = os.getpid()
child = os.fork()
if not child:
    exit_with_parent(int(sys.argv[1]) or parent, signal.SIGHUP)
    print(os.getpid(), flush=True)
    time.sleep(600)
print("ended by", os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""


def test_the_child_of_a_killed_parent_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, "0"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert alive == []


@pytest.mark.parametrize("other", [1, 2**22])
def test_a_child_whose_parent_has_ended_already_ends_at_once(other: int) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(other)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ended by 1\n"
