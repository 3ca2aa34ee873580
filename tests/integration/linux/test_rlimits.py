"""The kernel's table of descriptors is large before a process has threads. Real processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minikube.linux.rlimits import TABLE_SIZE

GROW = """
import resource
{limit}
{call}
print(open("/proc/self/status").read())
"""


def table_size(call: str, limit: str = "") -> tuple[int, str]:
    """Return the size of the table after `call` in a new process, and what that has written to stderr."""
    argv = [sys.executable, "-c", GROW.format(call=call, limit=limit)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    found = re.search(r"FDSize:\s+(\d+)", done.stdout)
    assert found, done.stderr
    return int(found[1]), done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "from minikube.registry.main import _raise_file_limit as raise_limit; raise_limit()",
        "from minikube.supervisor.runtime.process.process_table import ProcessTable; ProcessTable().raise_file_limit()",
    ],
    ids=["registry", "supervisor"],
)
def test_the_table_has_room_before_threads_start(call: str) -> None:
    size, errors = table_size(call)
    assert size >= TABLE_SIZE
    assert not errors


def test_a_limit_below_the_size_is_no_error() -> None:
    call = "from minikube.linux.rlimits import grow_descriptor_table; grow_descriptor_table()"
    size, errors = table_size(call, "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))")
    assert size < TABLE_SIZE
    assert not errors
