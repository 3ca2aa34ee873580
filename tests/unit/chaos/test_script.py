"""The script of a chaos run."""

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.log import RunLog, read_steps, step_record
from tests.chaos.script import GAP_MAX_S, SETTLE, draw, weigh

NAMES = ("kill.instance", "kill.registry", "redis.flushall")
KNOWN = dict(zip(NAMES, (5, 1, 2), strict=True))
WEIGHTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 4), min_size=1).filter(
    lambda found: any(found.values())
)


@given(st.integers(), WEIGHTS)
def test_a_seed_always_draws_the_same_script(seed: int, weights: dict[str, int]) -> None:
    assert list(islice(draw(seed, weights), 50)) == list(islice(draw(seed, weights), 50))


@given(st.integers(), WEIGHTS)
def test_each_operation_comes_as_often_as_it_weighs_in_every_deal(seed: int, weights: dict[str, int]) -> None:
    size = sum(weights.values())
    steps = islice((step for step in draw(seed, weights) if step.op != SETTLE), 2 * size)
    drawn = [step.op for step in steps]
    for deal in (drawn[:size], drawn[size:]):
        assert {name: deal.count(name) for name in weights} == weights


@given(st.integers(), WEIGHTS)
def test_a_script_settles_after_a_few_steps_and_never_waits_long(seed: int, weights: dict[str, int]) -> None:
    steps = list(islice(draw(seed, weights), 100))
    settles = [index for index, step in enumerate(steps) if step.op == SETTLE]
    assert all(later - earlier <= 7 for earlier, later in zip([-1, *settles], settles, strict=False))
    assert all(0 <= step.gap <= GAP_MAX_S and 0 <= step.hold <= 1 for step in steps)


def test_without_a_weight_there_is_no_script() -> None:
    with pytest.raises(ValueError, match="no operation"):
        next(draw(1, {"kill.instance": 0}))


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("", (5, 1, 2)),
        ("kill=3", (3, 3, 0)),
        ("all,kill.instance=0", (0, 1, 2)),
        ("kill=3,kill.registry=0,redis.flushall", (3, 0, 1)),
    ],
)
def test_operations_are_weighed_by_family_and_by_name(text: str, weights: tuple[int, ...]) -> None:
    assert weigh(text, KNOWN) == dict(zip(NAMES, weights, strict=True))


@pytest.mark.parametrize("text", ["kil=1", "kill=x", "kill=-1", "kill.=1", "=2"])
def test_an_unknown_operation_or_weight_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"operation|weight"):
        weigh(text, KNOWN)


def test_a_log_has_the_steps_of_its_run(tmp_path: Path) -> None:
    steps = list(islice(draw(3, dict.fromkeys(NAMES, 1)), 10))
    log = RunLog(tmp_path / "log", {"seed": 3})
    for step in steps:
        log.write("step", step=step_record(step))
        log.write("done", op=step.op)
    log.close()
    header, found = read_steps(tmp_path / "log")
    assert (header["seed"], found) == (3, steps)


@pytest.mark.parametrize("text", ["", "{", '{"record": "step", "step": {"no": 1}}\n', "[]"])
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(ValueError, match="chaos"):
        read_steps(tmp_path / "log")
