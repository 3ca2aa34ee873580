"""Waiting for the end of a process that is not a child."""

import os

from minikube.cli.lifecycle.process_exit import ProcessExitWait


def test_the_end_of_a_process_is_seen_without_reaping_it() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    with ProcessExitWait(child) as process_exit:
        assert not process_exit.wait(0)
        os.close(write)
        assert process_exit.wait(5)
        os.waitpid(child, 0)
    with ProcessExitWait(child) as process_exit:
        assert process_exit.wait(0), "a pid without a process"


def test_a_process_that_is_not_known_is_not_waited_for() -> None:
    """A supervisor that hangs and has no record any more names no guardian: `down --now` kills it all the same."""
    with ProcessExitWait(0) as process_exit:
        assert process_exit.wait(0)
