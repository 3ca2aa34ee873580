"""What becomes of a batch of writes, by what Redis answers."""

from typing import Any

import pytest
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from minikube.registry.redis.replies import Judged, Outcome, judge_answers, judge_confirmed

OK = [b"ok", b"7", b"5"]
FULL = ResponseError("MISCONF  no\ndisk")
GONE = NoScriptError("NOSCRIPT")
DONE, AGAIN = Outcome(("ok", 7, 5)), Outcome()
FAILED = Outcome(failure="store unavailable: MISCONF no disk")


@pytest.mark.parametrize(
    ("answers", "judged"),
    [
        ([], Judged(())),
        ([OK, OK], Judged((DONE, DONE))),
        ([[b"conflict", b"9"]], Judged((Outcome(("conflict", 9, 0)),))),
        ([1, b"12", None], Judged((Outcome(("ok", 1, 0)), Outcome(("ok", 12, 0)), Outcome(("ok", 0, 0))))),
        ([b"not ours"], Judged((Outcome(failure="store unavailable: the revision in Redis is no number"),))),
        ([OK, [b"diverged"]], Judged((DONE, AGAIN), diverged=True)),
        ([[b"late"], OK], Judged((AGAIN, DONE), late=True)),
        ([[b"late"], [b"diverged"]], Judged((AGAIN, AGAIN), diverged=True, late=True)),
        ([GONE, GONE], Judged((AGAIN, AGAIN), forgotten=True)),
        ([OK, FULL], Judged((DONE, FAILED), refused=FULL)),
        ([FULL, GONE], Judged((FAILED, AGAIN), refused=FULL, forgotten=True)),
    ],
)
def test_each_write_has_its_own_outcome_and_the_writer_its_next_step(answers: list[Any], judged: Judged) -> None:
    assert judge_answers(answers) == judged


def test_enough_confirmations_leave_the_answers_to_speak() -> None:
    assert judge_confirmed(2, 1, 1) is None
    assert judge_confirmed(2, 3, 2) is None


def test_what_a_failover_could_lose_is_not_told_as_done() -> None:
    failed = Outcome(failure="store unavailable: 1 of 2 replicas have the write in time")
    assert judge_confirmed(2, 1, 2) == Judged((failed, failed))


def test_a_refused_confirmation_fails_them_all_and_is_raised() -> None:
    error = ReadOnlyError("not a master")
    failed = Outcome(failure="store unavailable: not a master")
    assert judge_confirmed(3, error, 1) == Judged((failed,) * 3, refused=error)
