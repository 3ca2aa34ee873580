"""What Redis' answers to a batch of writes mean (floor 3, pure): for each write, and for the writer itself."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from redis.exceptions import NoScriptError, ResponseError


class WriteOutcome(Struct, frozen=True):
    """What one write came to: an answer (`ok` or `conflict`, and numbers), or why it failed, or neither: ask again."""

    answer: tuple[str, int, int] = ("", 0, 0)
    failure: str = ""


class BatchResult(Struct, frozen=True):
    """A batch: each write's outcome, and what the writer does next."""

    outcomes: tuple[WriteOutcome, ...]
    refused: ResponseError | None = None
    """To be raised: Redis is there and refuses."""
    forgotten: bool = False
    """Redis does not know the scripts (any more)."""
    diverged: bool = False
    """The store is another line of history by now."""
    late: bool = False
    """By Redis' clock the time of a write was over: the clocks are to be compared again."""


def judge_answers(answers: Sequence[Any]) -> BatchResult:
    """The verdict on a batch whose answers came in the order of its writes; those that are errors are ResponseErrors."""
    errors = [answer for answer in answers if isinstance(answer, ResponseError)]
    said = [answer[0] for answer in answers if isinstance(answer, list)]
    return BatchResult(
        tuple(map(_outcome, answers)),
        refused=next((error for error in errors if not isinstance(error, NoScriptError)), None),
        forgotten=any(isinstance(error, NoScriptError) for error in errors),
        diverged=b"diverged" in said,
        late=b"late" in said,
    )


def judge_confirmed(count: int, confirmed: Any, wanted: int) -> BatchResult | None:
    """The verdict on a batch of `count` writes that replicas were to confirm (WAIT's answer); None where enough have it.

    Nobody is told "done" of what a failover could lose; what it became, the change log tells.
    """
    if isinstance(confirmed, ResponseError):  # not allowed, or no master any more: nobody knows who has it
        return BatchResult((_failed(tell(confirmed)),) * count, refused=confirmed)
    if confirmed < wanted:
        return BatchResult((_failed(f"{confirmed} of {wanted} replicas have the write in time"),) * count)
    return None


def tell(error: BaseException) -> str:
    """An error of Redis or of the way to it, in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _outcome(answer: Any) -> WriteOutcome:
    if isinstance(answer, NoScriptError):
        return WriteOutcome()
    if isinstance(answer, ResponseError):
        return _failed(tell(answer))
    if not isinstance(answer, list):  # of a renewal, or the store's revision
        try:
            return WriteOutcome(("ok", int(answer or 0), 0))
        except ValueError:
            return _failed("the revision in Redis is no number")
    status = answer[0].decode()
    if status not in ("ok", "conflict"):
        return WriteOutcome()
    revision, incarnation = (*map(int, answer[1:]), 0)[:2]
    return WriteOutcome((status, revision, incarnation))


def _failed(why: str) -> WriteOutcome:
    return WriteOutcome(failure=f"store unavailable: {why}")
