"""Turn Redis' replies to a batch of writes into the result of each write and the writer's next action. Pure."""

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from minikube.registry.redis.types import CommitResult

_SCRIPT_TRACE = re.compile(
    r"^(ERR )?Error running script \(call to f_[0-9a-f]+\): @user_script:\d+: (@user_script: ?\d+: )?-?"
    r"| script: ([0-9a-f]{40}, )?on @user_script:\d+\.?$"
)
"""What Redis 6 puts before, and Redis 7 after the error of a command in a script."""


class WriteOutcome(Struct, frozen=True):
    """The outcome of one write: a result, or the text of its failure, or neither: it is to be sent again."""

    result: CommitResult | None = None
    failure: str = ""


class BatchResult(Struct, frozen=True):
    """The outcomes of a batch's writes in order, and what the writer has to do next."""

    outcomes: tuple[WriteOutcome, ...]
    error: ResponseError | None = None
    """To be raised: Redis is there and refuses."""
    scripts_missing: bool = False
    """Redis does not know the scripts (any more): load them."""
    diverged: bool = False
    """Redis has another history by now: read it again."""
    late: bool = False
    """By Redis' clock the deadline of a write had passed: compare the clocks again."""


def read_batch(replies: Sequence[Any]) -> BatchResult:
    """Return the result of a batch. The replies are in the order of its writes; errors among them are ResponseErrors."""
    errors = [reply for reply in replies if isinstance(reply, ResponseError)]
    statuses = [reply[0] for reply in replies if isinstance(reply, list) and reply]
    return BatchResult(
        tuple(map(_outcome, replies)),
        error=next((error for error in errors if not isinstance(error, NoScriptError)), None),
        scripts_missing=any(isinstance(error, NoScriptError) for error in errors),
        diverged=b"diverged" in statuses,
        late=b"late" in statuses,
    )


def read_confirmation(count: int, confirmed: Any, required: int) -> BatchResult | None:
    """Return the failure of all `count` writes of a batch, of which too few replicas have a copy; None if enough have.

    `confirmed` is WAIT's reply.
    """
    if isinstance(confirmed, ResponseError):  # WAIT is forbidden, or this is no master any more: the copies are unknown
        return BatchResult((_failure(one_line(confirmed)),) * count, error=confirmed)
    if confirmed < required:
        # A failover could lose the writes, so they are not reported as done. What became of them, the change log shows.
        return BatchResult((_failure(f"{confirmed} of {required} replicas have the write in time"),) * count)
    return None


def one_line(error: BaseException) -> str:
    """Return the text of an error of Redis or of the connection, in one line, without the script that it came up in."""
    text = _SCRIPT_TRACE.sub("", " ".join(str(error).split())) or type(error).__name__
    if isinstance(error, OutOfMemoryError) and not text.startswith("OOM"):
        text = f"OOM {text}"  # redis-py cuts the code off
    advice = " — raise maxmemory in Redis, or free memory there" if text.startswith("OOM") else ""
    return text[:300] + advice


def _outcome(reply: Any) -> WriteOutcome:
    if isinstance(reply, NoScriptError):
        return WriteOutcome()
    if isinstance(reply, ResponseError):
        return _failure(one_line(reply))
    if not isinstance(reply, list):  # the reply to a lease renewal or a revision query
        try:
            return WriteOutcome(CommitResult(True, int(reply or 0)))
        except ValueError:
            return _failure("the revision in Redis is no number")
    match reply:
        case [b"ok" | b"conflict" as status, *numbers] if numbers:
            try:
                return WriteOutcome(CommitResult(status == b"ok", *map(int, numbers[:2])))
            except (TypeError, ValueError):
                return _failure("Redis replied with something else than a revision")
        case [b"diverged" | b"late", *_]:
            return WriteOutcome()
    return _failure("Redis replied with something else than a revision")


def _failure(reason: str) -> WriteOutcome:
    return WriteOutcome(failure=f"store unavailable: {reason}")
