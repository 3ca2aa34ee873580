"""An instance's row: what is shown of one that runs, and of one that has ended by itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minikube.manifest import HealthSpec, ServiceSpec
from minikube.model import CheckState, ProcessState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.instance.status import OUTDATED, instance_view
from minikube.supervisor.readiness.generation import Generation
from minikube.supervisor.runtime.exit_status import Exit

SPEC = ServiceSpec("web", Path("/"), ("run",), health=HealthSpec("http", http="/health"))


def subject(life: InstanceState, **fields: Any) -> Any:
    well = SimpleNamespace(
        state=CheckState.PASSING, output="200 OK", since=7.0, checked=9.0, why=lambda life: life.reason
    )
    usual = {"id": "0badcafe", "name": "web-2", "spec": SPEC, "host": "127.0.0.1", "port": 80, "life": life}
    more = {"begun": Generation(5.0, 1.0), "since": 6.0, "last_lines": ("last words",), "wellbeing": well}
    return SimpleNamespace(**{**usual, **more, "process": SimpleNamespace(pid=42), "outdated": False, **fields})


def test_one_that_runs() -> None:
    shown = instance_view(subject(InstanceState(ProcessState.RUNNING, restarts=3)), 0.0, 100.0, 10.0)
    assert (shown.service, shown.name, shown.pid, shown.restarts) == ("web", "web-2", 42, 3)
    assert (shown.address, shown.health) == ("127.0.0.1:80", "http://127.0.0.1:80/health")
    assert (shown.check, shown.output, shown.check_since, shown.checked) == (CheckState.PASSING, "200 OK", 7.0, 9.0)
    assert (shown.started, shown.since, shown.last_lines, shown.reason) == (5.0, 6.0, (), "")


@pytest.mark.parametrize(
    ("state", "next_try", "shown_try"),
    [(ProcessState.BACKOFF, 12.5, 102.5), (ProcessState.BACKOFF, 9.0, 0.0), (ProcessState.FATAL, 12.5, 0.0)],
)
def test_one_that_ended_by_itself_tells_its_last_words_and_when_it_is_tried_again(
    state: ProcessState, next_try: float, shown_try: float
) -> None:
    life = InstanceState(state, next_try=next_try, exit=Exit(3), reason="exit 3")
    shown = instance_view(subject(life, process=None), 0.0, 100.0, 10.0)
    assert (shown.pid, shown.started, shown.exit, shown.reason) == (0, 0.0, "exit 3", "exit 3")
    assert (shown.last_lines, shown.next_try) == (("last words",), shown_try)


def test_one_that_runs_as_the_manifest_was_before_says_so_unless_it_is_in_trouble() -> None:
    outdated = subject(InstanceState(ProcessState.RUNNING), outdated=True)
    assert instance_view(outdated, 0.0, 100.0, 10.0).reason == OUTDATED
    outdated.life = InstanceState(ProcessState.RUNNING, reason="not ready")
    assert instance_view(outdated, 0.0, 100.0, 10.0).reason == "not ready"
