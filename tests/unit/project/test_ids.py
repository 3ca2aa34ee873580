"""Ids of instances are recognized in every run, at a cost that does not grow with the entries of other programs."""

import pytest

from minikube.manifest.validate import MAX_REPLICAS
from minikube.project import ids
from minikube.project.ids import instance_id, is_replica


def test_the_ids_of_all_possible_replicas_are_recognized_and_no_others() -> None:
    assert is_replica("project", "web", instance_id("project", "web", 1))
    assert is_replica("project", "web", instance_id("project", "web", MAX_REPLICAS))
    assert not is_replica("project", "web", instance_id("project", "web", MAX_REPLICAS + 1))
    assert not is_replica("project", "api", instance_id("project", "web", 1))


def test_thousands_of_other_entries_of_a_name_cost_its_ids_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def count(*arguments: object) -> str:
        made.append(arguments)
        return instance_id(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ids, "instance_id", count)
    for number in range(10_000):
        assert not is_replica("a flooded project", f"web-{number % 2}", f"longer-{number:08}")
    assert made == []  # the length tells them apart
    for number in range(10_000):
        is_replica("a flooded project", f"web-{number % 2}", f"{number:08x}")
    assert len(made) == 2 * MAX_REPLICAS
