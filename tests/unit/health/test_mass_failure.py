"""An observer's doubt in itself: general silence, and pauses of its own."""

import pytest

from minikube.health.mass_failure import PAUSE_S, PauseWatch, SilenceWatch


def watch(silent: int, answering: int, *, began: float = 10.0) -> SilenceWatch:
    made = SilenceWatch()
    for number in range(answering):
        made.note(f"well-{number}", began + 1, silent=False)
    for number in range(silent):
        made.note(f"silent-{number}", began, silent=True)
    return made


@pytest.mark.parametrize(
    ("silent", "answering", "doubted"),
    [(2, 0, False), (3, 0, True), (3, 3, True), (3, 4, False), (5, 5, True), (5, 6, False), (0, 9, False)],
)
def test_three_and_half_make_a_general_silence(silent: int, answering: int, doubted: bool) -> None:
    doubt = watch(silent, answering).doubt()
    assert (doubt is not None) is doubted
    if doubt is not None:
        assert (doubt.silent, doubt.asked) == (silent, silent + answering)
        assert f"{silent} of {silent + answering}" in str(doubt)


def test_answers_from_before_the_silence_do_not_count() -> None:
    made = watch(3, 0, began=10.0)
    for number in range(9):
        made.note(f"old-{number}", 9.0, silent=False)
    assert made.doubt() is not None


def test_one_who_answers_again_or_is_gone_is_not_silent() -> None:
    made = watch(3, 0)
    made.note("silent-0", 12.0, silent=False)
    assert made.doubt() is None
    made.note("silent-3", 12.0, silent=True)
    assert made.doubt() is not None
    made.forget("silent-3")
    assert made.doubt() is None


@pytest.mark.parametrize(("monotonic", "boottime"), [(PAUSE_S, PAUSE_S), (0.2, 60.0), (60.0, 60.0)])
def test_a_gap_in_either_clock_is_a_pause(monotonic: float, boottime: float) -> None:
    made = PauseWatch(0.0, 0.0)
    assert made.beat(monotonic, boottime) == max(monotonic, boottime)
    assert made.spoiled(monotonic), "a probe that began before the pause ended says nothing"
    assert not made.spoiled(monotonic + 0.01)


def test_regular_beats_are_no_pause() -> None:
    made = PauseWatch(0.0, 0.0)
    assert [made.beat(0.25 * number, 0.25 * number) for number in range(1, 9)] == [0.0] * 8
    assert not made.spoiled(0.0)
