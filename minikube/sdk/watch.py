"""One watch over any number of connections (floor 2): each change once, in order, resumed by revision.

Sans I/O. A watch has a connection of its own, so a consumer that is slow is held back by TCP, not by a queue here. When
the registry gives up on such a consumer, or goes away, the shell connects again and the watch resumes after the last
revision it handed out; if the registry no longer knows that far back, it starts over with a WatchSnapshot.

The shell waits `patience_s` for the next bytes, then calls `quiet`: whatever arrives is a sign of life.
"""

from typing import Any

from msgspec import UNSET, Raw, Struct

from minikube.errors import RemoteError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, decode_as, error_of, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.model import Change, Instance
from minikube.sdk import requests as verbs
from minikube.sdk.requests import Call, WatchSnapshot

CHANGED = "Discovery.Changed"
QUIET_S = 15.0
"""After so long without a word the registry is asked for one: a host that vanished, or a process that hangs, says nothing."""
ANSWER_S = 5.0
"""How long the registry may be silent while it owes an answer."""


class _Started(Struct, frozen=True, rename="pascal"):
    revision: int
    watch: int = 0
    instances: tuple[Instance, ...] | None = None


class Watcher:
    """The state of one watch. `revision` is the last one handed out, None before the first snapshot."""

    def __init__(self, name: str = "*", token: str = "") -> None:
        self.name = name
        self.revision: int | None = None
        self.alive = False
        """True once this connection's watch was accepted."""
        self._token = token
        self._calls = ClientProtocol()
        self._ids: dict[int, str] = {}
        """Methods of the calls under way."""
        self._output = b""

    def connected(self) -> bytes:
        """What to send on a new connection."""
        self._calls = ClientProtocol()
        self._ids.clear()
        self.alive = False
        hello = self._call(verbs.authenticate(self._token)) if self._token else b""
        return hello + self._ask()

    @property
    def patience_s(self) -> float:
        """How long to wait for the next bytes, in seconds."""
        return ANSWER_S if self._ids else QUIET_S

    def quiet(self) -> bytes:
        """Nothing came for `patience_s`: what to send. Raises ConnectionLost when something is to be answered."""
        if self._ids:
            raise ConnectionLost(f"no answer within {ANSWER_S:g} s")
        return self._call(verbs.status())

    def take_output(self) -> bytes:
        """What to send after `feed`; mostly nothing."""
        output, self._output = self._output, b""
        return output

    def feed(self, data: bytes) -> list[WatchSnapshot | Change]:
        """The updates that `data` completes.

        Raises ConnectionLost when the connection is of no use, other errors when the registry refuses the watch.
        """
        updates: list[WatchSnapshot | Change] = []
        for incoming in self._calls.feed(data):
            update = self._notified(incoming) if incoming.is_notification else self._answered(incoming)
            if update is not None:
                updates.append(update)
        return updates

    def _call(self, call: Call[Any]) -> bytes:
        number, line = self._calls.encode(call.method, call.params)
        self._ids[number] = call.method
        return line

    def _ask(self) -> bytes:
        params = (self.name,) if self.revision is None else (self.name, self.revision)
        return self._call(verbs.other("Discovery.Watch", params))

    def _answered(self, incoming: ServerMessage) -> WatchSnapshot | None:
        method = self._ids.pop(incoming.id, "") if isinstance(incoming.id, int) else ""
        if method == verbs.status().method:
            return None  # a sign of life, whatever it says
        error = error_of(incoming)
        if isinstance(error, RemoteError) and error.code == jsonrpc.COMPACTED and self.revision is not None:
            self.revision = None
            self._output += self._ask()
            return None
        if error is not None:
            # Without an id it is about the connection: too many, too slow. Later may be better.
            raise error if incoming.id is not None else ConnectionLost(str(error))
        if method != "Discovery.Watch":
            return None
        started = result_of(incoming, _Started)
        self.alive = True
        if started.instances is None:
            return None
        self.revision = started.revision
        return WatchSnapshot(started.revision, started.instances)

    def _notified(self, incoming: ServerMessage) -> Change | None:
        if incoming.method != CHANGED or incoming.params is UNSET or self.revision is None:
            return None
        assert isinstance(incoming.params, Raw)
        change = decode_as(incoming.params, Change)
        if change.revision <= self.revision:
            return None
        self.revision = change.revision
        return change
