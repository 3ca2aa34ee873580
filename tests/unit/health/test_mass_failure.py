"""MassFailureDetector: when time-outs of several instances count as one mass failure."""

import pytest

from minikube.health.mass_failure import MassFailureDetector


def detector(silent: int, answering: int, *, started: float = 10.0) -> MassFailureDetector:
    made = MassFailureDetector()
    for number in range(answering):
        made.record(f"answering-{number}", started + 1, timed_out=False)
    for number in range(silent):
        made.record(f"silent-{number}", started, timed_out=True)
    return made


@pytest.mark.parametrize(
    ("silent", "answering", "expected"),
    [(2, 0, False), (3, 0, True), (3, 3, True), (3, 4, False), (5, 5, True), (5, 6, False), (0, 9, False)],
)
def test_at_least_three_and_half_of_the_probed_make_a_mass_failure(silent: int, answering: int, expected: bool) -> None:
    failure = detector(silent, answering).detect()
    assert (failure is not None) is expected
    if failure is not None:
        assert (failure.silent, failure.probed) == (silent, silent + answering)
        assert f"{silent} of {silent + answering}" in str(failure)


def test_results_from_before_the_first_timeout_do_not_count() -> None:
    made = detector(3, 0, started=10.0)
    for number in range(9):
        made.record(f"old-{number}", 9.0, timed_out=False)
    assert made.detect() is not None


def test_an_instance_that_answers_again_or_is_forgotten_is_not_silent() -> None:
    made = detector(3, 0)
    made.record("silent-0", 12.0, timed_out=False)
    assert made.detect() is None
    made.record("silent-3", 12.0, timed_out=True)
    assert made.detect() is not None
    made.forget("silent-3")
    assert made.detect() is None
