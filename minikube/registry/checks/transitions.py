"""Changes of a record's check state, for `RegistryNode.update`: a found state, a new output, maintenance.

While an instance is in maintenance, a found state is kept beside it and shows when maintenance ends.
"""

import time

from msgspec.structs import replace

from minikube.model import CheckState
from minikube.registry.catalog.records import Record
from minikube.registry.node import RecordChange

MAX_OUTPUT = 4096
"""Characters of a check's output that are kept."""


def set_state(state: CheckState, output: str) -> RecordChange:
    """Return the change to a state that the checks found; it leaves a record that has the state already."""

    def change(record: Record) -> Record | None:
        if record.check_state is state:
            return None
        if record.instance.state is CheckState.MAINTENANCE:
            return replace(record, state_after_maintenance=state)
        return _with_state(record, state, output)

    return change


def set_output(output: str) -> RecordChange:
    """Return the change of the output only, so that watchers learn why an instance does not pass."""

    def change(record: Record) -> Record | None:
        # A passing instance's output is shown by each node from its own probes; maintenance has the operator's reason.
        if record.instance.state not in (CheckState.STARTING, CheckState.CRITICAL):
            return None
        return replace(record, instance=replace(record.instance, output=output[:MAX_OUTPUT], checked=time.time()))

    return change


def start_maintenance(reason: str) -> RecordChange:
    """Return the change into maintenance: the instance is not discoverable until `end_maintenance`."""

    def change(record: Record) -> Record | None:
        if record.instance.state is CheckState.MAINTENANCE:
            return None
        hidden = _with_state(record, CheckState.MAINTENANCE, reason or "maintenance")
        return replace(hidden, state_after_maintenance=record.instance.state)

    return change


def end_maintenance() -> RecordChange:
    """Return the change out of maintenance, into the state that the checks found last."""

    def change(record: Record) -> Record | None:
        if record.instance.state is not CheckState.MAINTENANCE:
            return None
        return _with_state(record, record.state_after_maintenance, "maintenance is over")

    return change


def _with_state(record: Record, state: CheckState, output: str) -> Record:
    now = time.time()
    instance = replace(record.instance, state=state, output=output[:MAX_OUTPUT], checked=now, since=now)
    return replace(record, instance=instance)
