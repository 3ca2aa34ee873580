"""Histograms and counters: what is counted where, and that the number of names is limited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.metrics.counters import MAX_NAMES, PROBE_BOUNDS_S, Histogram, ProbeCounters


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5))))
def test_every_observation_is_counted_in_the_bucket_of_its_value(observed: list[tuple[float, int]]) -> None:
    bounds = (0.1, 1.0, 10.0)
    histogram = Histogram(bounds)
    for value, times in observed:
        histogram.observe(value, times)
    edges = (-1.0, *bounds, float("inf"))
    for low, high, count in zip(edges, edges[1:], histogram.view.counts, strict=False):
        assert count == sum(times for value, times in observed if low < value <= high)
    assert histogram.view.sum == pytest.approx(sum(value * times for value, times in observed))


def test_probes_are_counted_by_service_and_outcome() -> None:
    counters = ProbeCounters()
    for outcome in ("pass", "pass", "timeout"):
        counters.record("product", outcome, 0.002)
    counters.record("order", "fail", 0.1)
    product, order = counters.view
    assert (product.service, product.results, sum(product.seconds.counts)) == ("product", {"pass": 2, "timeout": 1}, 3)
    assert (order.results, order.seconds.bounds) == ({"fail": 1}, PROBE_BOUNDS_S)


def test_the_number_of_names_is_limited_and_known_names_keep_their_counters() -> None:
    counters = ProbeCounters()
    counters.record("product", "pass", 0.0)
    for number in range(MAX_NAMES + 9):
        counters.record(f"name-{number}", "pass", 0.0)
    counters.record("product", "pass", 0.0)
    counts = {one.service: one.results["pass"] for one in counters.view}
    assert len(counts) == MAX_NAMES + 1
    assert counts["product"] == 2
    assert counts["(other)"] == 10
