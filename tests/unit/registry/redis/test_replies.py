"""What becomes of a batch of writes, by what Redis answers."""

from typing import Any

import pytest
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from minikube.registry.redis.replies import BatchResult, WriteOutcome, judge_answers, judge_confirmed

OK = [b"ok", b"7", b"5"]
FULL = ResponseError("MISCONF  no\ndisk")
GONE = NoScriptError("NOSCRIPT")
DONE, AGAIN = WriteOutcome(("ok", 7, 5)), WriteOutcome()
FAILED = WriteOutcome(failure="store unavailable: MISCONF no disk")


@pytest.mark.parametrize(
    ("answers", "judged"),
    [
        ([], BatchResult(())),
        ([OK, OK], BatchResult((DONE, DONE))),
        ([[b"conflict", b"9"]], BatchResult((WriteOutcome(("conflict", 9, 0)),))),
        (
            [1, b"12", None],
            BatchResult((WriteOutcome(("ok", 1, 0)), WriteOutcome(("ok", 12, 0)), WriteOutcome(("ok", 0, 0)))),
        ),
        ([b"not ours"], BatchResult((WriteOutcome(failure="store unavailable: the revision in Redis is no number"),))),
        ([OK, [b"diverged"]], BatchResult((DONE, AGAIN), diverged=True)),
        ([[b"late"], OK], BatchResult((AGAIN, DONE), late=True)),
        ([[b"late"], [b"diverged"]], BatchResult((AGAIN, AGAIN), diverged=True, late=True)),
        ([GONE, GONE], BatchResult((AGAIN, AGAIN), forgotten=True)),
        ([OK, FULL], BatchResult((DONE, FAILED), refused=FULL)),
        ([FULL, GONE], BatchResult((FAILED, AGAIN), refused=FULL, forgotten=True)),
    ],
)
def test_each_write_has_its_own_outcome_and_the_writer_its_next_step(answers: list[Any], judged: BatchResult) -> None:
    assert judge_answers(answers) == judged


def test_enough_confirmations_leave_the_answers_to_speak() -> None:
    assert judge_confirmed(2, 1, 1) is None
    assert judge_confirmed(2, 3, 2) is None


def test_what_a_failover_could_lose_is_not_told_as_done() -> None:
    failed = WriteOutcome(failure="store unavailable: 1 of 2 replicas have the write in time")
    assert judge_confirmed(2, 1, 2) == BatchResult((failed, failed))


def test_a_refused_confirmation_fails_them_all_and_is_raised() -> None:
    error = ReadOnlyError("not a master")
    failed = WriteOutcome(failure="store unavailable: not a master")
    assert judge_confirmed(3, error, 1) == BatchResult((failed,) * 3, refused=error)
