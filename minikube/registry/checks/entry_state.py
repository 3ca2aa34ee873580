"""What a verdict makes of an entry (floor 3): changes for `Node.update`. Maintenance hides the state until it is over."""

import time

from msgspec.structs import replace

from minikube.model import CheckState
from minikube.registry.catalog.records import Record
from minikube.registry.node import OUTPUT_LIMIT, Updated, entered


def stored_state(record: Record) -> CheckState:
    """What the record says of its health, under maintenance too."""
    return record.resumed if record.instance.state is CheckState.MAINTENANCE else record.instance.state


def entering(state: CheckState, output: str) -> Updated:
    """Into another state; nothing where it is in it."""

    def change(record: Record) -> Record | None:
        if stored_state(record) is state:
            return None
        if record.instance.state is CheckState.MAINTENANCE:
            return replace(record, resumed=state)
        return entered(record, state, output, time.time())

    return change


def saying(output: str) -> Updated:
    """The state stays: watchers hear why."""

    def change(record: Record) -> Record | None:
        if record.instance.state not in (CheckState.STARTING, CheckState.CRITICAL):
            return None
        return replace(record, instance=replace(record.instance, output=output[:OUTPUT_LIMIT], checked=time.time()))

    return change
