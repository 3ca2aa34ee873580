"""Waiting for a condition in tests: no fixed sleeps, a bound on everything.

The bound is for what never comes; how fast something comes is measured in tests/benchmarks, on a machine of its own.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")
STEP_S = 0.01
PATIENCE_S = 30.0
"""Longer than a machine is ever busy with other things."""


def eventually(check: Callable[[], T], within: float = PATIENCE_S, what: str = "") -> T:
    """Call `check` until it returns something true, and return that; AssertionError when the time is over."""
    deadline = time.monotonic() + within
    while not (result := check()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what or check!r}"
        time.sleep(STEP_S)
    return result


async def soon(check: Callable[[], T], within: float = PATIENCE_S, what: str = "") -> T:
    """`eventually` for trio."""
    deadline = trio.current_time() + within
    while not (result := check()):
        assert trio.current_time() < deadline, f"not within {within:g} s: {what or check!r}"
        await trio.sleep(STEP_S)
    return result
