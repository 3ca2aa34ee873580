"""Fixtures of the tests that start real processes as the supervisor does."""

import ctypes
from collections.abc import Iterator

import pytest
import trio

from minikube.linux import processes
from minikube.supervisor.runtime.process.process_table import ProcessTable


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Make orphans children of this process, as the supervisor does."""
    processes.become_subreaper()
    yield
    ctypes.CDLL(None).prctl(processes.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def idle_table(subreaper: None) -> Iterator[ProcessTable]:
    """Yield a process table that notices no exit: its `reap` is not called."""
    table = ProcessTable()
    yield table
    table.close()


@pytest.fixture
async def process_table(idle_table: ProcessTable, nursery: trio.Nursery) -> ProcessTable:
    """Return a process table that reaps its children."""
    nursery.start_soon(idle_table.reap_children)
    return idle_table
