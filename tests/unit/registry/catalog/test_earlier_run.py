"""Which entries are of a project's earlier run, and what becomes of them."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from minikube.model import Address, CheckState, Instance
from minikube.project.ids import instance_id, project_key
from minikube.registry.catalog import earlier_run as module
from minikube.registry.catalog.earlier_run import EarlierRun
from minikube.registry.catalog.records import Record

OWN = instance_id(project_key("machine", Path("/shop")), "web", 2)


def record(id_: str = OWN, check: str = "tcp://127.0.0.1:80", state: CheckState = CheckState.PASSING) -> Record:
    return Record(Instance(id_, "web", Address("127.0.0.1", 80), check, state, registered=99.0))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (record(), CheckState.STARTING),
        (record(check="ttl:"), CheckState.CRITICAL),
        (record(state=CheckState.CRITICAL), CheckState.CRITICAL),
        (record("0badcafe"), CheckState.PASSING),
        (replace(record(), instance=replace(record().instance, name="other")), CheckState.PASSING),
        (replace(record(), instance=replace(record().instance, registered=100.0)), CheckState.PASSING),
    ],
)
def test_only_entries_of_the_earlier_run_are_withdrawn(before: Record, after: CheckState) -> None:
    (found,) = EarlierRun.parse("100.000 /shop", "machine").withdraw([before])
    assert found.instance.state is after
    assert (found is before) == (before.instance.state is after)


def test_the_first_registry_of_a_run_withdraws_entries_of_any_time() -> None:
    """The clock may have been set back since the earlier run."""
    later = replace(record(), instance=replace(record().instance, registered=1e12))
    (found,) = EarlierRun.parse("inf /shop", "machine").withdraw([later])
    assert found.instance.state is CheckState.STARTING


def test_maintenance_stays_and_ends_in_a_state_that_does_not_pass() -> None:
    hidden = replace(record(state=CheckState.MAINTENANCE), state_after_maintenance=CheckState.PASSING)
    (found,) = EarlierRun.parse("100.000 /shop", "machine").withdraw([hidden])
    assert found.instance == hidden.instance
    assert found.state_after_maintenance is CheckState.STARTING


@pytest.mark.parametrize("text", ["", "100.0", "soon /shop", "100.0 /elsewhere"])
def test_without_a_run_of_this_project_nothing_is_withdrawn(text: str) -> None:
    assert EarlierRun.parse(text, "machine").withdraw([record()]) == (record(),)


def test_the_number_of_names_that_are_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 1)
    run = EarlierRun.parse("100.000 /shop", "machine")
    others = [replace(record(), instance=replace(record().instance, name=name)) for name in ("first", "second")]
    assert run.withdraw([*others, record()]) == (*others, record())
