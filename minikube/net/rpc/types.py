"""What the RPC server, its connections and its methods know of each other (floor 2): bounds, and two protocols."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from minikube.jsonrpc.lines import MAX_LINE_BYTES
from minikube.jsonrpc.messages import Request

if TYPE_CHECKING:
    from minikube.net.rpc.connection import RpcConnection


class Limits(Struct, frozen=True):
    """The server's bounds. Durations are seconds, sizes bytes."""

    line: int = MAX_LINE_BYTES
    connections: int = 1_024
    first_line_s: float = 5.0
    """From the connection's start to its first full line, a TLS handshake included."""
    in_flight: int = 256
    """Calls of one connection that wait at the same time; more input is read when one is done."""
    waiting: int = 1_024
    """Calls of all connections that wait; beyond it each connection has only `share` of them."""
    share: int = 4
    unsent: int = 262_144
    """Bytes waiting to be sent to one connection above which nothing more is read from it."""
    backlog: int = 4_194_304
    """Bytes of notifications waiting above which the connection is ended. Also the bound of a batch's answer."""
    backlogs: int = 134_217_728
    """The same for all connections that lag together: where they are many, each has less."""
    stall_s: float = 10.0
    """How long a send may make no progress."""
    linger_s: float = 1.0
    """How long the reading side is drained after a fatal error, so that the peer gets to read why."""
    half_closed_s: float = 5.0
    """How long calls under way may still be answered once the peer has closed its sending side."""


class Methods(Protocol):
    """What the server serves. `now` and `call` raise RpcError (or the project's own errors) for an error answer."""

    @property
    def telling(self) -> frozenset[str]:
        """Methods that send notifications from their answer on: of a batch they come last, so that its answer is in
        front of them."""

    def at_once(self, data: bytes, peer: "RpcConnection") -> bytes | None:
        """The answer to a whole receive, where that can be told from its bytes; None to have its lines decoded.

        Only for what `now` would answer, line by line, with the same bytes. Never raises.
        """

    def now(self, request: Request, peer: "RpcConnection") -> bytes | None:
        """The whole answer's line (`splice_reply`), when it needs no waiting; None to have `call` asked."""

    async def call(self, request: Request, peer: "RpcConnection") -> Any:
        """The result: anything msgspec encodes, or Raw; or a whole `Line`. Never None: Go's client takes a null result
        for an error."""

    def answered(self, count: int, seconds: float) -> None:
        """`now` answered (or refused) so many requests of one receive, at least one, in `seconds` altogether."""


class Host(Protocol):
    """What a peer needs of its server."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task in the server's nursery."""

    def touch(self, peer: "RpcConnection") -> None:
        """Look at this peer soon: it has bytes to send, may read again, or is to be closed."""

    @property
    def clients(self) -> int:
        """How many connections are open."""

    waiting: int
    """How many calls wait, of all connections."""
    lagging: int
    """How many connections have more than `unsent` bytes to be sent."""
