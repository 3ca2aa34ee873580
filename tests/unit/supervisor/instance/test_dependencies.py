"""Whether a dependency is met, and the reason that is shown when it is not."""

import pytest
from msgspec.structs import replace

from minikube.manifest import Condition
from minikube.model import ProcessState
from minikube.supervisor.instance.dependencies import DependencyStatus, unmet_condition

RUNS = DependencyStatus("db", ProcessState.RUNNING, ready=True)
STARTS = DependencyStatus("db", ProcessState.STARTING)
FATAL = DependencyStatus("db", ProcessState.FATAL, reason="exit 1: 5 failed starts in a row")
DONE = DependencyStatus("db", ProcessState.EXITED, completed=True, reason="exit 0")
FAILED = DependencyStatus("db", ProcessState.EXITED, reason="exit 3")
UNHEALTHY = DependencyStatus("db-2", ProcessState.RUNNING, reason="check fails: connection refused")
STOPPED = DependencyStatus("db", ProcessState.STOPPED, may_come=False)


@pytest.mark.parametrize(
    ("condition", "statuses", "reason"),
    [
        ("healthy", [RUNS], ""),
        ("healthy", [UNHEALTHY, RUNS], ""),
        ("healthy", [STARTS], "waiting for db to be healthy"),
        ("healthy", [UNHEALTHY], "waiting for db to be healthy: db-2 runs: check fails: connection refused"),
        ("healthy", [FATAL], "waiting for db to be healthy: db is fatal: exit 1: 5 failed starts in a row"),
        ("healthy", [STOPPED], "waiting for db to be healthy: db is stopped — `minikube start db`"),
        ("healthy", [], "waiting for db to be healthy: db has no instance — `minikube scale db=1`"),
        ("started", [STARTS], ""),
        ("started", [DONE], ""),
        ("started", [FATAL], "waiting for db to be started: db is fatal: exit 1: 5 failed starts in a row"),
        ("completed", [DONE], ""),
        ("completed", [DONE, RUNS], "waiting for db to be completed"),
        ("completed", [DONE, FAILED], "waiting for db to be completed: db has ended: exit 3"),
        ("completed", [], "waiting for db to be completed: db has no instance — `minikube scale db=1`"),
        ("exited", [replace(FAILED, exited=True)], ""),
        ("exited", [replace(FATAL, exited=True), replace(DONE, exited=True)], ""),
        ("exited", [replace(DONE, exited=True), RUNS], "waiting for db to be exited"),
        ("exited", [STOPPED], "waiting for db to be exited: db is stopped — `minikube start db`"),
        ("exited", [replace(STOPPED, may_come=True)], "waiting for db to be exited: db has not run yet"),
    ],
)
def test_the_reason_names_what_a_dependent_waits_for(
    condition: Condition, statuses: list[DependencyStatus], reason: str
) -> None:
    assert unmet_condition("db", condition, statuses) == reason
