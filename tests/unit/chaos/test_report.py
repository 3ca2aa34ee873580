"""The report of a chaos run."""

import json

import pytest

from tests.chaos.model import Allowance, Bounds, Finding, History, Kind, Process
from tests.chaos.report import Result, json_line, measure_growth, push_times, table
from tests.chaos.run_context import Change

MIB = 1024 * 1024


def killed_at(time: float) -> tuple[History, Process]:
    process = Process("web", "w", 7, 80, 0.0)
    history = History(Bounds(), processes=[process])
    history.kills[id(process)] = time
    return history, process


def test_push_and_return_are_measured_from_the_kill() -> None:
    history, _ = killed_at(10.0)
    changes = [Change(1, "w", True), Change(10.25, "w", False), Change(10.5, "other", True), Change(11, "w", True)]
    assert push_times(history, changes) == ([0.25], [1.0])


def test_an_instance_that_did_not_pass_and_one_that_was_disturbed_are_not_measured() -> None:
    history, _ = killed_at(10.0)
    changes = [Change(1, "w", True), Change(9, "w", False), Change(10.25, "w", False), Change(11, "w", True)]
    assert push_times(history, changes) == ([], [])
    history.excuse(Allowance.STALE, "*", 10.5)
    assert push_times(history, [Change(1, "w", True), *changes[2:]]) == ([0.25], [])


def test_growth_is_the_most_of_all_processes_of_a_part_after_their_first_seconds() -> None:
    usage = {
        ("redis", 1): [(0.0, 1 * MIB, 5), (20.0, 5 * MIB, 9), (30.0, 7 * MIB, 8)],
        ("redis", 2): [(0.0, 1 * MIB, 5), (20.0, 5 * MIB, 5), (30.0, 5 * MIB, 6)],
        ("registry", 3): [(0.0, 1 * MIB, 5)],
    }
    assert [(one.part, one.mib, one.descriptors) for one in measure_growth(usage)] == [("redis", 2.0, 1)]


def test_each_kind_of_finding_is_counted_also_those_that_are_zero() -> None:
    result = Result({"kill.redis": 2}, (Finding(Kind.LOST, "guest-1 is lost", 3.0),), pushed_s=(0.002, 0.004))
    assert result.counts == {kind.value: int(kind is Kind.LOST) for kind in Kind}
    assert not result.passed
    text = table(result)
    assert "false removals" in text
    assert "BROKEN lost registrations: guest-1 is lost" in text
    read = json.loads(json_line(result, seed=4))
    assert (read["seed"], read["passed"], read["lost registrations"], read["hangs"]) == (4, False, 1, 0)
    assert read["death_to_push_s"] == {"n": 2, "p50": 0.002, "p99": 0.004}


@pytest.mark.parametrize(("engine", "shown"), [("28.2.2", "28.2.2"), ("", "not installed: no service in a container")])
def test_the_table_says_whether_containers_took_part(engine: str, shown: str) -> None:
    result = Result({}, engine=engine)
    assert f"container engine            {shown}" in table(result)
    assert json.loads(json_line(result))["engine"] == engine


@pytest.mark.parametrize(("moved", "shown"), [(True, "moved"), (False, "not moved: libfaketime is not installed")])
def test_the_table_says_whether_the_clock_of_redis_was_moved(moved: bool, shown: str) -> None:
    result = Result({}, redis_clock=moved)
    assert f"clock of Redis              {shown}" in table(result)
    assert json.loads(json_line(result))["redis_clock"] is moved


def test_a_run_without_a_finding_has_passed() -> None:
    assert Result({}).passed
