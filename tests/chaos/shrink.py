"""The shortest script that still fails (delta debugging, Zeller and Hildebrandt 2002). Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(script: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return a subsequence of `script` that fails and of which no step can be left out; `script` has to fail.

    Halves first, then smaller and smaller parts: `fails` runs a project each time, so it is called as rarely as can be.
    """
    kept = list(script)
    parts = 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
        for index in range(len(chunks)):
            rest = [step for other, chunk in enumerate(chunks) if other != index for step in chunk]
            if fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(kept))
    return kept
