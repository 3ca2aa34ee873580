"""Instances and snapshots that the tests of `render` share."""

from minikube.model import CheckState, InstanceView, ProcessState, Snapshot

NOW = 1_000_000.0

PRODUCT = InstanceView(
    id="0a1b2c3d",
    service="product",
    name="product",
    state=ProcessState.RUNNING,
    check=CheckState.PASSING,
    address="127.0.0.1:7070",
    check_since=NOW - 59,
    pid=4194304,
    restarts=3,
    started=NOW - 3725,
)
ORDER = InstanceView(
    id="11111111",
    service="order",
    name="order",
    state=ProcessState.BACKOFF,
    exit="exit 1",
    reason="exit 1 after 0.2s",
    next_try=NOW + 4,
    started=NOW - 9,
    last_lines=("Traceback\x1b[31m",),
)


def snapshot_of(*instances: InstanceView, **more: object) -> Snapshot:
    """Return a snapshot of a project with these instances."""
    return Snapshot("shop", 1, NOW, NOW - 60, "0.1.0", 1, instances=instances, **more)  # type: ignore[arg-type]
