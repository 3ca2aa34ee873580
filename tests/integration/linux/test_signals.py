"""Whether a process handles a signal, which decides if the first process of a container gets it. Real processes."""

import signal
import subprocess
import sys

import pytest

from minikube.linux import processes

SETTINGS = {
    "nothing": ("pass", False),
    "caught": ("signal.signal(signal.SIGTERM, lambda *_: None)", True),
    "ignored": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", True),
    "blocked": ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", True),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_signal_is_handled_where_it_is_caught_ignored_or_blocked(setting: str) -> None:
    code, handled = SETTINGS[setting]
    program = f"import signal, sys\n{code}\nprint(flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processes.handles_signal(process.pid, signal.SIGTERM) is handled
        process.kill()


def test_a_process_that_cannot_be_read_counts_as_handling_the_signal() -> None:
    assert processes.handles_signal(2**22 + 1, signal.SIGTERM)
