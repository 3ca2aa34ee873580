"""A registry entry of an earlier process is distinguished from the running process' entry, also when the clock is set."""

import pytest

from minikube.model import Address, CheckState, Instance
from minikube.supervisor.readiness.start_time import StartTime

BEGAN = StartTime(wall=10_000.0, monotonic=50.0, incarnation_before=7)


@pytest.mark.parametrize(
    ("registered", "incarnation", "wall", "earlier"),
    [
        (9_999.0, 8, 10_002.0, True),
        (10_001.0, 8, 10_002.0, False),
        (9_999.9995, 8, 10_002.0, False),  # as exactly as the registry keeps it
        (10_001.0, 7, 10_002.0, True),  # known before
        (6_401.0, 8, 6_402.0, False),  # set back by an hour before it registered itself
        (10_001.0, 8, 6_402.0, False),  # and after that
        (6_399.0, 8, 6_402.0, True),
        (10_001.0, 8, 13_602.0, False),  # set forward
        (13_601.0, 8, 13_602.0, False),
    ],
)
def test_an_entry_is_of_the_running_process_or_of_an_earlier_one(
    registered: float, incarnation: int, wall: float, earlier: bool
) -> None:
    entry = Instance(
        "i", "x", Address("127.0.0.1", 80), "", CheckState.PASSING, registered=registered, incarnation=incarnation
    )
    assert BEGAN.is_after(entry, wall, monotonic=52.0) is earlier
