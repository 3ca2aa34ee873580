"""Whether a process would hear a signal as the first one of its container. Real processes."""

import signal
import subprocess
import sys

import pytest

from minikube.linux import processes as tree

SETTINGS = {
    "nothing": ("pass", False),
    "handled": ("signal.signal(signal.SIGTERM, lambda *_: None)", True),
    "ignored": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", True),
    "waited for": ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", True),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_only_what_is_set_up_for_a_signal_hears_it(setting: str) -> None:
    code, hears = SETTINGS[setting]
    program = f"import signal, sys\n{code}\nprint(flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert tree.hears(process.pid, signal.SIGTERM) is hears
        process.kill()


def test_who_is_gone_is_given_the_benefit_of_the_doubt() -> None:
    assert tree.hears(2**22 + 1, signal.SIGTERM)
