"""PauseDetector: gaps in either clock are pauses of this process."""

import pytest

from minikube.health.pause import PAUSE_S, PauseDetector


@pytest.mark.parametrize(("monotonic", "boottime"), [(PAUSE_S, PAUSE_S), (0.2, 60.0), (60.0, 60.0)])
def test_a_gap_in_either_clock_is_a_pause(monotonic: float, boottime: float) -> None:
    made = PauseDetector(0.0, 0.0)
    assert made.tick(monotonic, boottime) == max(monotonic, boottime)
    assert made.overlaps_pause(monotonic), "a probe that started before the end of the pause"
    assert not made.overlaps_pause(monotonic + 0.01)


def test_regular_ticks_are_no_pause() -> None:
    made = PauseDetector(0.0, 0.0)
    assert [made.tick(0.25 * number, 0.25 * number) for number in range(1, 9)] == [0.0] * 8
    assert not made.overlaps_pause(0.0)
