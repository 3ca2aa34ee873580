"""CallCounters: calls are counted by method and result, also those of the fast path."""

import pytest

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.messages import COMPACTED, RpcError
from minikube.registry.call_counters import FAST_METHOD, CallCounters, result_name


def test_fast_answers_count_as_lookups_but_for_those_counted_by_themselves() -> None:
    counters = CallCounters()
    counters.count_fast_other("Discovery.Watch", "ok", 0.5)
    counters.count_fast(101, 0.0002)
    counters.count_fast_other("Discovery.Watch", "ok", 0.5)
    counters.count_fast(1, 0.1)
    counts = {count.method: count for count in counters.view}
    assert counts["Discovery.Watch"].results == {"ok": 2}
    assert counts[FAST_METHOD].results == {"ok": 100}
    assert counts[FAST_METHOD].seconds.counts[0] == 100
    assert counts[FAST_METHOD].seconds.sum == pytest.approx(0.0002)


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
