"""How often each method was called, how it went and how long it took (floor 3, pure).

`Discovery.Get` on the fast path answers a lookup in about a microsecond; counting each would cost a part of that. So the
connection tells how many answers one receive gave and how long that took altogether (`answered`), and whatever else was
answered on the fast path says so itself (`aside`).
"""

from bisect import bisect_left

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.messages import RpcError
from minikube.metrics.counters import CALL_BOUNDS_S, CallCount, HistogramView, OutcomeCounter

OK = "ok"
FAST = "Discovery.Get"
UNKNOWN = "unknown"
"""All methods that do not exist: their names are a stranger's."""

_NAMES = {
    jsonrpc.METHOD_NOT_FOUND: "method_not_found",
    jsonrpc.INVALID_PARAMS: "invalid_params",
    jsonrpc.INTERNAL_ERROR: "internal_error",
    jsonrpc.REFUSED: "refused",
    jsonrpc.UNAUTHORIZED: "unauthorized",
    jsonrpc.NOT_FOUND: "not_found",
    jsonrpc.STORE_UNAVAILABLE: "store_unavailable",
    jsonrpc.COMPACTED: "compacted",
}


class CallTally:
    """Belongs to the trio thread."""

    def __init__(self) -> None:
        self._methods: dict[str, OutcomeCounter] = {FAST: OutcomeCounter(CALL_BOUNDS_S)}
        self._aside = 0
        self._fast = [0] * (len(CALL_BOUNDS_S) + 1)
        self._fast_seconds = 0.0

    def answered(self, count: int, seconds: float) -> None:
        """So many (at least one) answers of the fast path took `seconds` altogether: each counts as its share of them."""
        if self._aside:
            count -= self._aside
            self._aside = 0
            if count <= 0:
                return
        self._fast[bisect_left(CALL_BOUNDS_S, seconds / count)] += count
        self._fast_seconds += seconds

    def aside(self, method: str, result: str, seconds: float) -> None:
        """One of the answers that `answered` will tell was of this method, not a lookup."""
        self._aside += 1
        self.note(method, result, seconds)

    def note(self, method: str, result: str, seconds: float) -> None:
        found = self._methods.get(method)
        if found is None:
            found = self._methods[method] = OutcomeCounter(CALL_BOUNDS_S)
        found.record(result, seconds)

    @property
    def view(self) -> tuple[CallCount, ...]:
        found = [CallCount(name, dict(one.results), one.seconds.view) for name, one in self._methods.items()]
        slow = found[0]
        results = {**slow.results, OK: slow.results.get(OK, 0) + sum(self._fast)}
        counts = tuple(map(int.__add__, slow.seconds.counts, self._fast))
        seconds = HistogramView(slow.seconds.bounds, counts, slow.seconds.sum + self._fast_seconds)
        return (CallCount(FAST, results, seconds), *found[1:])


def result_name(error: Exception) -> str:
    """What an error is called where it is counted."""
    match error:
        case RpcError() | RemoteError():
            return _NAMES.get(error.code, "other")
        case NotFound():
            return "not_found"
        case Unavailable():
            return "store_unavailable"
        case UsageError():
            return "invalid_params"
        case MinikubeError():
            return "refused"
    return "internal_error"
