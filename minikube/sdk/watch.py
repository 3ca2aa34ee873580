"""The state machine of one watch over any number of connections: each change once, in order, resumed by revision.

It does no I/O. A watch has a connection of its own, so that TCP holds back a slow consumer and no queue grows here. When
the registry ends the connection of a slow consumer, or goes away, the caller connects again, and the watch resumes after the
last revision that it returned. When the registry's change log no longer reaches back that far, a `WatchSnapshot` comes again.

The caller waits `silence_limit_s` for the next bytes and then calls `on_silence`.
"""

from typing import Any

from msgspec import UNSET, Raw, Struct

from minikube.errors import RemoteError, Unavailable
from minikube.jsonrpc import messages
from minikube.jsonrpc.calls import ConnectionLost, decode_as, error_of, result_of
from minikube.jsonrpc.messages import ServerMessage
from minikube.model import Change, Instance
from minikube.sdk import requests
from minikube.sdk.peer import RegistryProtocol, log_omitted_token, may_omit_token, version_problem
from minikube.sdk.requests import Call, WatchSnapshot
from minikube.sdk.session import FAILOVER_S, NotARegistry, RegistryAddress

CHANGED = "Discovery.Changed"
QUIET_S = 15.0
"""The seconds of silence after which the registry is asked for its status: a dead host and a hung process send nothing."""
REPLY_S = 5.0
"""The seconds that the registry may be silent while it owes a reply."""


class _Started(Struct, frozen=True, rename="pascal"):
    revision: int
    watch: int = 0
    instances: tuple[Instance, ...] | None = None


class Watcher:
    """The state machine of one watch: takes received bytes, returns updates and bytes to send. Does no I/O."""

    def __init__(self, name: str = "*", address: RegistryAddress | None = None, *, leaves_silent: bool = False) -> None:
        """`address` has the token, if any.

        `leaves_silent`: whether a registry that is silent is left within `FAILOVER_S`, as there is another one.
        """
        self.name = name
        self.revision: int | None = None
        """The last revision that was returned; None before the first snapshot."""
        self.accepted = False
        """Whether the registry has accepted the watch on the present connection."""
        self._address = address
        self._refusal: RemoteError | Unavailable | None = None
        """The reply to a token that the registry does not know and that may be omitted."""
        self._leaves_silent = leaves_silent
        self._logged = ""
        self._where = "the registry"
        self._calls = RegistryProtocol("the registry")
        self._pending: dict[int, str] = {}
        """The method of each call that was not answered yet, by id."""
        self._output = b""

    def on_connect(self, where: str = "the registry", *, tls: bool = False) -> bytes:
        """Return what to send on a new connection; `where` is the address for messages, `tls` whether TLS is on."""
        self._where = where
        self._calls = RegistryProtocol(where, tls=tls)
        self._pending.clear()
        self.accepted = False
        self._refusal = None
        if self._address is not None and self._address.token:
            # The watch only after the reply: a registry may have to ask its store for the token.
            return self._encode(requests.authenticate(self._address.token))
        return self._watch_request()

    @property
    def silence_limit_s(self) -> float:
        """How many seconds to wait for the next bytes before calling `on_silence`."""
        if self._leaves_silent:
            return FAILOVER_S / 2
        return REPLY_S if self._pending else QUIET_S

    def on_silence(self) -> bytes:
        """Return the bytes to send after `silence_limit_s` without input. Raises `ConnectionLost` if a reply is overdue."""
        if self._pending:
            raise ConnectionLost(f"no answer within {self.silence_limit_s:g} s")
        return self._encode(requests.status())

    def problem_to_log(self, error: Exception) -> str:
        """Return the line to log for an error after which the watch connects again; empty for one that passes by itself.

        A peer that is no registry will not become one by itself. It is logged once.
        """
        if not isinstance(error, NotARegistry) or str(error) == self._logged:
            return ""
        self._logged = str(error)
        return f"watch of {self.name}: {error}; trying again"

    def take_output(self) -> bytes:
        """Return the bytes to send after `feed`; empty in most cases."""
        output, self._output = self._output, b""
        return output

    def feed(self, data: bytes) -> list[WatchSnapshot | Change]:
        """Return the updates in the received bytes; an incomplete one waits for the next call.

        Raises `ConnectionLost` when the connection can no longer be used, other errors when the registry refuses the watch.
        """
        updates: list[WatchSnapshot | Change] = []
        for incoming in self._calls.feed(data):
            update = self._on_notification(incoming) if incoming.is_notification else self._on_reply(incoming)
            if update is not None:
                updates.append(update)
        return updates

    def _encode(self, call: Call[Any]) -> bytes:
        number, line = self._calls.encode(call.method, call.params)
        self._pending[number] = call.method
        return line

    def _watch_request(self) -> bytes:
        params = (self.name,) if self.revision is None else (self.name, self.revision)
        return self._encode(requests.other("Discovery.Watch", params))

    def _on_reply(self, incoming: ServerMessage) -> WatchSnapshot | None:
        method = self._pending.pop(incoming.id, "") if isinstance(incoming.id, int) else ""
        if method == requests.status().method:
            return None  # only asked for as a sign of life
        error = error_of(incoming)
        if isinstance(error, RemoteError) and error.code == messages.COMPACTED and self.revision is not None:
            self.revision = None
            self._output += self._watch_request()
            return None
        if method == "Discovery.Authenticate" and (error is None or self._may_omit_token(error)):
            self._output += self._watch_request()
            return None
        if isinstance(error, RemoteError):
            error = version_problem(error, method, self._where)
            if error.code == messages.UNAUTHORIZED and self._refusal is not None:
                error = self._refusal  # this one says why: the token is wrong
        if error is not None:
            # An error without an id is about the connection (too many are open, too slow): a later one may succeed.
            raise error if incoming.id is not None else ConnectionLost(str(error))
        if method != "Discovery.Watch":
            return None
        started = result_of(incoming, _Started)
        self.accepted = True
        if self._refusal is not None:
            log_omitted_token(self._where)
        if started.instances is None:
            return None
        self.revision = started.revision
        return WatchSnapshot(started.revision, started.instances)

    def _may_omit_token(self, error: Exception) -> bool:
        """Return whether to watch without the token that was refused with `error`, and keep the error."""
        if (
            self._address is None
            or not isinstance(error, RemoteError | Unavailable)
            or not may_omit_token(self._address, error)
        ):
            return False
        self._refusal = error
        return True

    def _on_notification(self, incoming: ServerMessage) -> Change | None:
        if incoming.method != CHANGED or incoming.params is UNSET or self.revision is None:
            return None
        assert isinstance(incoming.params, Raw)
        change = decode_as(incoming.params, Change)
        if change.revision <= self.revision:
            return None
        self.revision = change.revision
        return change
