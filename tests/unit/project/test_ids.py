"""Ids of instances are recognized in every run, at a cost that does not grow with the entries of other programs."""

import os
from pathlib import Path

import pytest

from minikube.manifest.validate import MAX_REPLICAS
from minikube.project import ids
from minikube.project.ids import ReplicaIds, instance_id, project_key


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """The ids that were computed."""
    made: list[tuple[str, str, int]] = []

    def count(project: str, service: str, index: int) -> str:
        made.append((project, service, index))
        return instance_id(project, service, index)

    monkeypatch.setattr(ids, "instance_id", count)
    return made


def test_a_project_in_a_directory_whose_path_is_no_utf8_has_ids_of_its_own() -> None:
    first, second = (project_key("machine", Path(os.fsdecode(name))) for name in (b"/shop\xff", b"/shop\xfe"))
    assert instance_id(first, "web", 1) != instance_id(second, "web", 1)


@pytest.mark.parametrize("is_own", [True, False])
def test_the_ids_of_all_possible_replicas_are_recognized_and_no_others(is_own: bool) -> None:
    known = ReplicaIds("project", 10)
    assert known.has("web", instance_id("project", "web", 1), is_own=is_own)
    assert known.has("web", instance_id("project", "web", MAX_REPLICAS), is_own=is_own)
    assert not known.has("web", instance_id("project", "web", MAX_REPLICAS + 1), is_own=is_own)
    assert not known.has("api", instance_id("project", "web", 1), is_own=is_own)
    assert not known.has("web", instance_id("other", "web", 1), is_own=is_own)


def test_thousands_of_other_entries_of_a_name_cost_its_ids_once(computed: list[object]) -> None:
    known = ReplicaIds("project", 10)
    for number in range(10_000):
        assert not known.has(f"web-{number % 2}", f"longer-{number:08}")
    assert computed == []  # the length tells them apart
    for number in range(10_000):
        known.has(f"web-{number % 2}", f"{number:08x}")
    assert len(computed) == 2 * MAX_REPLICAS


def test_thousands_of_other_names_cost_a_bounded_number_of_ids(computed: list[object]) -> None:
    known = ReplicaIds("project", 3)
    for _ in range(2):  # each entry changes again and again
        for number in range(9_800):
            known.has(f"foreign-{number}", f"{number:08x}")
    assert len(computed) == 3 * MAX_REPLICAS


def test_a_service_of_the_manifest_is_recognized_after_any_number_of_other_names() -> None:
    known = ReplicaIds("project", 3)
    for number in range(100):
        known.has(f"foreign-{number}", f"{number:08x}")
    assert known.has("web", instance_id("project", "web", 7), is_own=True)
    assert not known.has("removed", instance_id("project", "removed", 1))
