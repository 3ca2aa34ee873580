"""The shortest script that still fails."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.shrink import shrink

SCRIPTS = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(SCRIPTS, st.data())
def test_exactly_the_steps_that_are_needed_remain(script: list[int], data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from(range(len(script))), min_size=1))

    def fails(steps: Sequence[tuple[int, int]]) -> bool:
        return needed <= {index for index, _ in steps}

    found = shrink(list(enumerate(script)), fails)
    assert {index for index, _ in found} == needed
    assert found == sorted(found)


@given(SCRIPTS, st.integers(1, 5), st.integers(0, 9))
def test_no_step_can_be_left_out_of_the_result(script: list[int], count: int, step: int) -> None:
    def fails(steps: Sequence[int]) -> bool:
        return list(steps).count(step) >= count

    if fails(script):
        found = shrink(script, fails)
        assert fails(found)
        assert len(found) == count


def test_one_of_sixty_steps_is_found_in_few_runs() -> None:
    runs = 0

    def fails(steps: Sequence[int]) -> bool:
        nonlocal runs
        runs += 1
        return 41 in steps

    assert shrink(range(60), fails) == [41]
    assert runs <= 20
