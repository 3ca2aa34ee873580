"""Redis' replies to a batch of writes: the outcome of each write, and what the writer does next."""

from typing import Any

import pytest
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from minikube.registry.redis.replies import BatchResult, WriteOutcome, one_line, read_batch, read_confirmation
from minikube.registry.redis.types import CommitResult

OK = [b"ok", b"7", b"5"]
FULL = ResponseError("MISCONF  no\ndisk")
GONE = NoScriptError("NOSCRIPT")
DONE, AGAIN = WriteOutcome(CommitResult(True, 7, 5)), WriteOutcome()
FAILED = WriteOutcome(failure="store unavailable: MISCONF no disk")


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([], BatchResult(())),
        ([OK, OK], BatchResult((DONE, DONE))),
        ([[b"conflict", b"9"]], BatchResult((WriteOutcome(CommitResult(False, 9)),))),
        (
            [1, b"12", None],
            BatchResult(tuple(WriteOutcome(CommitResult(True, revision)) for revision in (1, 12, 0))),
        ),
        ([b"not ours"], BatchResult((WriteOutcome(failure="store unavailable: the revision in Redis is no number"),))),
        ([OK, [b"diverged"]], BatchResult((DONE, AGAIN), diverged=True)),
        ([[b"late"], OK], BatchResult((AGAIN, DONE), late=True)),
        ([[b"late"], [b"diverged"]], BatchResult((AGAIN, AGAIN), diverged=True, late=True)),
        ([GONE, GONE], BatchResult((AGAIN, AGAIN), scripts_missing=True)),
        ([OK, FULL], BatchResult((DONE, FAILED), error=FULL)),
        ([FULL, GONE], BatchResult((FAILED, AGAIN), error=FULL, scripts_missing=True)),
    ],
)
def test_each_write_gets_its_own_outcome_and_the_writer_its_next_action(
    replies: list[Any], expected: BatchResult
) -> None:
    assert read_batch(replies) == expected


def test_with_enough_confirmations_the_replies_count() -> None:
    assert read_confirmation(2, 1, 1) is None
    assert read_confirmation(2, 3, 2) is None


def test_a_write_that_a_failover_could_lose_is_reported_as_failed() -> None:
    failed = WriteOutcome(failure="store unavailable: 1 of 2 replicas have the write in time")
    assert read_confirmation(2, 1, 2) == BatchResult((failed, failed))


def test_a_refused_wait_fails_all_writes_and_is_raised() -> None:
    error = ReadOnlyError("not a master")
    failed = WriteOutcome(failure="store unavailable: not a master")
    assert read_confirmation(3, error, 1) == BatchResult((failed,) * 3, error=error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ResponseError("MISCONF no\r\n  disk"), "MISCONF no disk"),
        (
            OutOfMemoryError("command not allowed when used memory > 'maxmemory'. script: on @user_script:4."),
            "OOM command not allowed when used memory > 'maxmemory'. — raise maxmemory in Redis, or free memory there",
        ),
        (
            ResponseError(f"WRONGTYPE the wrong kind of value script: {'0a' * 20}, on @user_script:12."),
            "WRONGTYPE the wrong kind of value",
        ),
        (
            ResponseError(
                f"Error running script (call to f_{'0a' * 20}): @user_script:4: @user_script: 4: -OOM command not allowed"
            ),
            "OOM command not allowed — raise maxmemory in Redis, or free memory there",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_is_told_as_redis_tells_it_without_the_script(error: Exception, text: str) -> None:
    assert one_line(error) == text
