"""Every rule about sets of process states has one owner: the properties of `ProcessState`."""

import pytest

from minikube.model import ProcessState

PROPERTIES = ("is_active", "has_process", "has_failed", "is_final", "has_ended")
TABLE = {
    ProcessState.STOPPED: set[str](),
    ProcessState.PENDING: set[str](),
    ProcessState.STARTING: {"is_active", "has_process"},
    ProcessState.RUNNING: {"is_active", "has_process"},
    ProcessState.STOPPING: {"has_process"},
    ProcessState.BACKOFF: {"has_failed", "has_ended"},
    ProcessState.EXITED: {"is_final", "has_ended"},
    ProcessState.FATAL: {"has_failed", "is_final", "has_ended"},
}


@pytest.mark.parametrize("state", ProcessState)
def test_each_state_has_its_properties_and_no_others(state: ProcessState) -> None:
    assert {name for name in PROPERTIES if getattr(state, name)} == TABLE[state]
