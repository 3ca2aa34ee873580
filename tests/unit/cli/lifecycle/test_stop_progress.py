"""The lines that name what a stop waits for."""

from msgspec import structs

from minikube.cli.lifecycle.stop_progress import progress_lines
from minikube.model import InstanceView, ProcessState, Snapshot


def test_instances_that_are_being_stopped_are_listed_or_else_those_that_have_a_process() -> None:
    snapshot = Snapshot(
        "shop",
        1,
        10.0,
        0.0,
        "",
        1,
        phase="stopping",
        instances=(
            InstanceView("1", "a", "a", ProcessState.STOPPING, pid=5, since=7.0, reason="TERM sent"),
            InstanceView("2", "b", "b", ProcessState.RUNNING, pid=6),
            InstanceView("3", "c", "c", ProcessState.STOPPED),
        ),
    )
    assert list(progress_lines(snapshot, 10.0)) == ["waiting for a (pid 5, stopping for 3s): TERM sent"]
    rest = structs.replace(snapshot, instances=snapshot.instances[1:])
    assert list(progress_lines(rest, 10.0)) == ["waiting for b (pid 6, running)"]
