"""Histograms and tallies: what is counted, where it lands, and that strangers' names cannot fill the memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.metrics.counters import NAMES_KEPT, PROBE_BOUNDS_S, Histogram, ProbeTally


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5))))
def test_every_observation_is_in_the_one_bucket_that_its_value_belongs_to(observed: list[tuple[float, int]]) -> None:
    bounds = (0.1, 1.0, 10.0)
    histogram = Histogram(bounds)
    for value, times in observed:
        histogram.observe(value, times)
    edges = (-1.0, *bounds, float("inf"))
    for low, high, count in zip(edges, edges[1:], histogram.view.counts, strict=False):
        assert count == sum(times for value, times in observed if low < value <= high)
    assert histogram.view.sum == pytest.approx(sum(value * times for value, times in observed))


def test_probes_are_counted_by_service_and_outcome() -> None:
    tally = ProbeTally()
    for outcome in ("pass", "pass", "timeout"):
        tally.note("product", outcome, 0.002)
    tally.note("order", "fail", 0.1)
    product, order = tally.view
    assert (product.service, product.results, sum(product.seconds.counts)) == ("product", {"pass": 2, "timeout": 1}, 3)
    assert (order.results, order.seconds.bounds) == ({"fail": 1}, PROBE_BOUNDS_S)


def test_strangers_names_do_not_pile_up_and_take_nobodys_counters_away() -> None:
    tally = ProbeTally()
    tally.note("product", "pass", 0.0)
    for number in range(NAMES_KEPT + 9):
        tally.note(f"name-{number}", "pass", 0.0)
    tally.note("product", "pass", 0.0)
    counts = {one.service: one.results["pass"] for one in tally.view}
    assert len(counts) == NAMES_KEPT + 1
    assert counts["product"] == 2
    assert counts["(other)"] == 10
