"""The script of a chaos run: which operation follows which, drawn from a seed. Pure.

Operations are dealt as cards are: each comes as often as its weight says before the deck is shuffled again, so that a short
run has as many kinds of faults as a long one. The deal does not depend on what the project does; a step's `choice` picks the
target among those that there are, in the order of their names, so that a replay has the same targets.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SETTLE = "settle"
"""The operation that waits until everything is well, and compares all that is shown and stored."""
ALL = "all"
"""In place of a name: the usual weights."""
GAP_MEAN_S = 0.6
GAP_MAX_S = 3.0
BETWEEN_SETTLES = (3, 6)


@dataclass(frozen=True)
class Step:
    """One operation: after `gap` seconds `op` is done to target number `choice`; a fault that lasts does so for `hold` of its
    longest time (0 to 1)."""

    op: str
    gap: float = 0.0
    choice: int = 0
    hold: float = 0.5


def draw(seed: int, weights: Mapping[str, int]) -> Iterator[Step]:
    """Yield the steps of a seed without end. Raises ValueError where all weights are 0."""
    deck = [name for name, weight in sorted(weights.items()) for _ in range(weight)]
    if not deck:
        raise ValueError("no operation has a weight above 0")
    chance = random.Random(seed)
    left = chance.randint(*BETWEEN_SETTLES)
    while True:
        chance.shuffle(deck)
        for name in deck:
            gap = min(chance.expovariate(1 / GAP_MEAN_S), GAP_MAX_S)
            yield Step(name, round(gap, 2), chance.randrange(1_000_000), round(chance.random(), 2))
            left -= 1
            if not left:
                yield Step(SETTLE)
                left = chance.randint(*BETWEEN_SETTLES)


def weigh(text: str, known: Mapping[str, int]) -> dict[str, int]:
    """Return the weight of each operation; `known` has the usual ones, which the empty text asks for. `kill=3,redis.flushall=1`
    weighs all whose names begin with `kill.` three times and that one once, and leaves out the rest;
    `all,kill.guardian=0` leaves out that one only.

    Raises ValueError for an unknown name and for what is no weight."""
    if not text:
        return dict(known)
    weights = dict.fromkeys(known, 0)
    for item in text.split(","):
        name, _, number = item.strip().partition("=")
        if name == ALL and not number:
            weights = dict(known)
            continue
        chosen = [one for one in known if one == name or one.startswith(f"{name}.")]
        if not chosen:
            raise ValueError(f"{name}: no such operation; there are {', '.join(known)}")
        if not (number or "1").isdecimal():
            raise ValueError(f"{item}: the weight must be a number of 0 or more")
        weights.update(dict.fromkeys(chosen, int(number or 1)))
    return weights
