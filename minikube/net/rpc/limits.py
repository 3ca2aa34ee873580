"""The limits of an RPC server. The program uses the defaults; tests use smaller ones."""

from msgspec import Struct

from minikube.jsonrpc.lines import MAX_LINE_BYTES


class RpcLimits(Struct, frozen=True):
    """The limits of one RPC server for its clients. Durations are in seconds, sizes in bytes."""

    line: int = MAX_LINE_BYTES
    """Longest line."""
    connections: int = 1_024
    """Open connections. For a further one the peer with the most connections loses its idlest one (`net.peers`)."""
    first_line_s: float = 5.0
    """Time from the start of a connection to its first full line, including the TLS handshake."""
    in_flight: int = 256
    """Waiting calls of one connection. Its input is not read while it has this many."""
    waiting: int = 1_024
    """Waiting calls of all connections. Above this, each connection may have only `share` of them."""
    share: int = 4
    unsent: int = 262_144
    """Unsent bytes of one connection above which its input is not read."""
    backlog: int = 4_194_304
    """Unsent bytes of notifications above which a connection is closed. Also the largest reply to a batch."""
    backlogs: int = 134_217_728
    """Like `backlog`, for all slow connections together: the more of them there are, the less each may have."""
    stall_s: float = 10.0
    """Time in which a send must make progress; otherwise the connection is closed."""
    linger_s: float = 1.0
    """Time for which input is drained after a fatal error, so that the client can read the error."""
    half_closed_s: float = 5.0
    """Time in which calls under way may be answered after the client has closed its sending side."""
