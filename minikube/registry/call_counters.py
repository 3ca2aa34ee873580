"""Count the calls of each RPC method by result and duration. Pure.

The fast path counts differently, for speed: a `Discovery.Get` takes about a microsecond, and counting each would cost a
part of that. So the connection reports how many calls of one receive were answered on the fast path and how long they took
together (`count_fast`). They all count as `Discovery.Get`, but for those that were counted by themselves (`count_fast_other`).
"""

from bisect import bisect_left

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.messages import RpcError
from minikube.metrics.counters import CALL_BOUNDS_S, CallCount, HistogramView, OutcomeCounter

OK = "ok"
FAST_METHOD = "Discovery.Get"
UNKNOWN_METHOD = "unknown"
"""Counts calls of all methods that do not exist: clients choose those names, and they must not fill the memory."""

_RESULT_NAMES = {
    jsonrpc.METHOD_NOT_FOUND: "method_not_found",
    jsonrpc.INVALID_PARAMS: "invalid_params",
    jsonrpc.INTERNAL_ERROR: "internal_error",
    jsonrpc.REFUSED: "refused",
    jsonrpc.UNAUTHORIZED: "unauthorized",
    jsonrpc.NOT_FOUND: "not_found",
    jsonrpc.STORE_UNAVAILABLE: "store_unavailable",
    jsonrpc.COMPACTED: "compacted",
}


class CallCounters:
    """The counters of one registry process, for its trio thread."""

    def __init__(self) -> None:
        self._methods: dict[str, OutcomeCounter] = {FAST_METHOD: OutcomeCounter(CALL_BOUNDS_S)}
        self._fast_others = 0
        self._fast_counts = [0] * (len(CALL_BOUNDS_S) + 1)
        self._fast_seconds = 0.0

    def count_fast(self, count: int, seconds: float) -> None:
        """Count `count` (at least one) replies of the fast path to `Discovery.Get`, which took `seconds` together."""
        if self._fast_others:
            count -= self._fast_others
            self._fast_others = 0
            if count <= 0:
                return
        self._fast_counts[bisect_left(CALL_BOUNDS_S, seconds / count)] += count
        self._fast_seconds += seconds

    def count_fast_other(self, method: str, result: str, seconds: float) -> None:
        """Count a reply of the fast path to another method than `Discovery.Get`; the next `count_fast` leaves it out."""
        self._fast_others += 1
        self.count(method, result, seconds)

    def count(self, method: str, result: str, seconds: float) -> None:
        """Count one call. `result` is `ok` or an error's name (`result_name`)."""
        outcomes = self._methods.get(method)
        if outcomes is None:
            outcomes = self._methods[method] = OutcomeCounter(CALL_BOUNDS_S)
        outcomes.record(result, seconds)

    @property
    def view(self) -> tuple[CallCount, ...]:
        """The counts of all methods as they are now."""
        counts = [
            CallCount(name, dict(outcomes.results), outcomes.seconds.view) for name, outcomes in self._methods.items()
        ]
        slow = counts[0]
        results = {**slow.results, OK: slow.results.get(OK, 0) + sum(self._fast_counts)}
        buckets = tuple(map(int.__add__, slow.seconds.counts, self._fast_counts))
        seconds = HistogramView(slow.seconds.bounds, buckets, slow.seconds.sum + self._fast_seconds)
        return (CallCount(FAST_METHOD, results, seconds), *counts[1:])


def result_name(error: Exception) -> str:
    """Return the name under which calls that raised `error` are counted."""
    match error:
        case RpcError() | RemoteError():
            return _RESULT_NAMES.get(error.code, "other")
        case NotFound():
            return "not_found"
        case Unavailable():
            return "store_unavailable"
        case UsageError():
            return "invalid_params"
        case MinikubeError():
            return "refused"
    return "internal_error"
