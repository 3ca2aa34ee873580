"""Histograms and counters: what is counted where, and that the number of names is limited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.messages import COMPACTED, RpcError
from minikube.metrics.counters import MAX_NAMES, PROBE_BOUNDS_S, Histogram, ProbeCounters
from minikube.registry.call_counters import FAST, CallTally, result_name


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


def test_calls_that_were_recorded_by_themselves_are_not_counted_as_lookups() -> None:
    tally = CallTally()
    tally.aside("Discovery.Watch", "ok", 0.5)
    tally.answered(101, 0.0002)
    tally.aside("Discovery.Watch", "ok", 0.5)
    tally.answered(1, 0.1)
    counts = {one.method: one for one in tally.view}
    assert counts["Discovery.Watch"].results == {"ok": 2}
    assert counts[FAST].results == {"ok": 100}
    assert counts[FAST].seconds.counts[0] == 100
    assert counts[FAST].seconds.sum == pytest.approx(0.0002)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (RpcError(COMPACTED, ""), "compacted"),
        (RpcError(7, ""), "other"),
        (RemoteError(-32602, ""), "invalid_params"),
        (NotFound(), "not_found"),
        (Unavailable(), "store_unavailable"),
        (UsageError(), "invalid_params"),
        (MinikubeError(), "refused"),
        (RuntimeError(), "internal_error"),
    ],
)
def test_an_error_is_counted_under_its_name(error: Exception, name: str) -> None:
    assert result_name(error) == name
