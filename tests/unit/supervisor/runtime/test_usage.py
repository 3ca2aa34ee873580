"""The usage of process trees is measured again and again, whatever the errors of one round."""

import os
from collections.abc import Iterator

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.linux import processes
from minikube.supervisor.runtime.process import usage as sampler
from minikube.supervisor.runtime.process.process_table import ProcessTable


async def test_a_round_that_gets_no_descriptor_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    def scan() -> Iterator[processes.ProcessStat]:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise OSError(24, os.strerror(24))
        return iter(())

    monkeypatch.setattr(processes, "scan_processes", scan)
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.001)
    with trio.move_on_after(5) as timeout:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sampler.sample_usage, ProcessTable(), StateStore("test"))
            while len(rounds) < 3:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    assert not timeout.cancelled_caught
