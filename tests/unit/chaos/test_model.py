"""What must be true during a chaos run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.model import (
    DELAY_S,
    Allowance,
    Bounds,
    Got,
    History,
    Kind,
    Process,
    Removal,
    Sustained,
    judge,
    percentile,
)

TIMES = st.floats(0, 1000)


def history(*processes: Process) -> History:
    return History(Bounds(), processes=list(processes))


def web(born: float = 0.0, died: float = math.inf, port: int = 80, service: str = "web") -> Process:
    return Process(service, f"{service}-id", 7, port, born, died=died)


def kind(past: History, observation: Got | Removal) -> Kind | None:
    finding = judge(past, observation)
    return finding.kind if finding else None


@given(TIMES, TIMES)
def test_the_address_of_a_live_process_is_right(born: float, later: float) -> None:
    assert kind(history(web(born)), Got("web", 80, born + later, born + later)) is None


@given(st.floats(1.01, 500))
def test_the_address_of_a_process_that_ended_long_ago_is_stale(age: float) -> None:
    past = history(web(0, died=10))
    assert kind(past, Got("web", 80, 10 + age, 10 + age)) is Kind.STALE_ADDRESS
    assert kind(past, Got("web", 80, 10.9, 11)) is None


def test_an_address_at_which_another_service_listens_is_wrong() -> None:
    past = history(web(0, died=10), web(20, service="other"))
    assert kind(past, Got("web", 80, 30, 30)) is Kind.WRONG_ADDRESS
    past.excuse(Allowance.STALE, "*", 0)
    assert kind(past, Got("web", 80, 30, 30)) is Kind.WRONG_ADDRESS


def test_an_address_at_which_nothing_ever_listened_is_wrong() -> None:
    assert kind(history(web(0)), Got("web", 81, 30, 30)) is Kind.WRONG_ADDRESS


def test_the_next_process_at_the_same_port_makes_its_address_right_again() -> None:
    past = history(web(0, died=10), web(20))
    assert kind(past, Got("web", 80, 15, 15)) is Kind.STALE_ADDRESS
    assert kind(past, Got("web", 80, 21, 21)) is None


def test_a_fault_excuses_stale_addresses_until_its_grace_is_over() -> None:
    past = history(web(0, died=10))
    past.excuse(Allowance.STALE, "web", 9).end = 20
    assert kind(past, Got("web", 80, 22, 22)) is None
    assert kind(past, Got("web", 80, 24, 24)) is Kind.STALE_ADDRESS


def test_what_is_allowed_for_one_service_is_not_for_another() -> None:
    past = history(web(0, died=10))
    past.excuse(Allowance.STALE, "other", 9)
    past.excuse(Allowance.REMOVAL, "web", 9)
    assert kind(past, Got("web", 80, 22, 22)) is Kind.STALE_ADDRESS


@given(TIMES, TIMES)
def test_the_removal_of_a_process_that_lives_on_is_false(passing: float, later: float) -> None:
    removal = Removal("web", "web-id", passing, passing + later)
    assert kind(history(web(0)), removal) is Kind.FALSE_REMOVAL


@pytest.mark.parametrize(("died", "false"), [(9.0, False), (10.2, False), (10.8, True)])
def test_the_removal_of_a_process_that_ends_then_is_right(died: float, false: bool) -> None:
    removal = Removal("web", "web-id", 5, 10)
    assert (kind(history(web(0, died)), removal) is Kind.FALSE_REMOVAL) == false


def test_the_removal_of_an_earlier_process_is_right_while_its_successor_lives() -> None:
    past = history(web(0, died=10), web(11))
    assert kind(past, Removal("web", "web-id", 5, 12)) is None
    assert kind(past, Removal("web", "web-id", 11.5, 12)) is Kind.FALSE_REMOVAL


def test_only_ends_that_this_program_did_not_cause_are_unexpected() -> None:
    killed, lost, task = web(), web(), Process("tick", "tick-id", 8, 0, 0, "task")
    past = history(killed, lost, task)
    past.kills[id(killed)] = 9.0
    for process in (killed, lost, task):
        past.ended(process, 10)
    assert past.judge(10 + DELAY_S / 2) == []
    assert [finding.kind for finding in past.judge(10 + DELAY_S)] == [Kind.UNEXPECTED_END]
    assert past.judge(20) == []


def test_a_command_may_end_the_processes_of_its_service() -> None:
    process = web()
    past = history(process)
    past.excuse(Allowance.END, "web", 9)
    past.ended(process, 10)
    assert past.judge(20) == []


def test_what_is_wrong_without_a_break_for_too_long_is_told_once() -> None:
    sustained = Sustained()
    told = [sustained.too_long(wrong, at, 2.0) for at, wrong in enumerate([["a"], ["a"], [], ["a"], ["a", "b"], ["a"]])]
    assert told == [[]] * 6
    assert sustained.too_long(["a", "b"], 6, 2.0) == ["a"]
    assert sustained.too_long(["a"], 9, 2.0) == []


@given(st.lists(TIMES, min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_its_share_does_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_there_is_no_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))
