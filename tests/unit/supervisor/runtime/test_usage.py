"""What trees use, measured again and again whatever one round comes to."""

import os
from collections.abc import Iterator

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.linux import processes as tree
from minikube.supervisor.runtime.process import usage as sampler
from minikube.supervisor.runtime.process.process import ProcessTable


async def test_a_round_without_descriptors_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    def scan() -> Iterator[tree.Stat]:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise OSError(24, os.strerror(24))
        return iter(())

    monkeypatch.setattr(tree, "scan", scan)
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.001)
    with trio.move_on_after(5) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sampler.sample, ProcessTable(), StateStore("test"))
            while len(rounds) < 3:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    assert not patience.cancelled_caught
