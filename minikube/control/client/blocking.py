"""The control API for programs that block (floor 2): the command line. One request at a time, each on a connection of its own.

It imports neither trio nor anything slow; the dashboard's side is `minikube.control.client.trio`. It refuses to retry: an act
that may have been done is the caller's to repeat.
"""

import http.client
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from minikube.control.client.endpoint import Endpoint, find_supervisor
from minikube.control.client.messages import ApplyReply, EventsReply, ServiceReply, error_for
from minikube.errors import NothingRunning, Unavailable
from minikube.logs.query import LogQuery
from minikube.model import Event, LogLine, Snapshot

__all__ = ["ControlClient", "Endpoint", "EventsReply", "LogQuery", "ServiceReply", "find_supervisor"]

TIMEOUT_S = 5.0
"""For requests that are answered from memory: who takes longer hangs."""

ACT_TIMEOUT_S = 600.0
"""For acts: stopping a tree takes its stop time-outs, in dependency order."""

READ_BYTES = 65_536

LATEST = LogQuery()

Shape = TypeVar("Shape")


class ControlClient:
    """Blocking face of the control API. Not for several threads at once.

    Every method raises `NotFound`, `UsageError`, `Unavailable`, `RemoteError` as the supervisor says, and
    `NothingRunning` when nobody listens there.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float = TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------ looking

    def health(self) -> bool:
        """Whether a control API answers there."""
        return bool(self._get("/health", dict[str, Any]))

    def status(self, *, after: int = -1, wait: float = 0.0) -> Snapshot:
        """The board; with `after` and `wait`, not before its revision is past `after` or `wait` seconds are over."""
        query = {"after": after, "wait": wait} if wait > 0 else {}
        return self._get("/v1/status", Snapshot, query, self._timeout + wait)

    def service(self, name: str) -> ServiceReply:
        """A service, or one instance by name or id: its rows and latest events."""
        return self._get(f"/v1/services/{quote(name, safe='')}", ServiceReply)

    def events(self, since: int = 0, *, wait: float = 0.0) -> EventsReply:
        """Events with a number above `since`, oldest first; waits up to `wait` seconds for the first."""
        query = {"since": since, "wait": wait} if wait > 0 else {"since": since}
        return self._get("/v1/events", EventsReply, query, self._timeout + wait)

    def follow_events(self, since: int = 0) -> Iterator[Event]:
        """Events above `since`, then new ones as they happen, until the supervisor ends."""
        for batch in self._batches("/v1/events", [("since", str(since)), ("follow", "true")], Event, follow=True):
            yield from batch

    def logs(self, names: Sequence[str] = (), query: LogQuery = LATEST) -> Iterator[LogLine]:
        """The wanted lines of the named services or instances (or of all), then, if `follow`, new ones as they come.

        Ends when the supervisor ends the answer. Closing the generator closes the connection.
        """
        for batch in self.log_batches(names, query):
            yield from batch

    def log_batches(self, names: Sequence[str] = (), query: LogQuery = LATEST) -> Iterator[list[LogLine]]:
        """As `logs`; those together that came together."""
        path, parameters = "/v1/logs", query.parameters()
        if len(names) == 1:
            path = f"/v1/services/{quote(names[0], safe='')}/logs"
        else:
            parameters += [("name", name) for name in names]
        yield from self._batches(path, parameters, LogLine, follow=query.follow)

    # ------------------------------------------------------------ acting

    def start(self, name: str) -> None:
        self._act(name, "start")

    def stop(self, name: str) -> None:
        self._act(name, "stop")

    def restart(self, name: str) -> None:
        self._act(name, "restart")

    def kill(self, name: str, signal: str = "KILL") -> None:
        self._act(name, "kill", {"signal": signal})

    def scale(self, name: str, replicas: int) -> None:
        self._act(name, "scale", {"replicas": replicas})

    def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        self._act(name, "maintenance", {"on": on, "reason": reason})

    def apply(self, *, dry_run: bool = False) -> ApplyReply:
        """Has the supervisor read its manifest again and do what differs; raises `UsageError` when it cannot."""
        return self._request("POST", "/v1/apply", ApplyReply, msgspec.json.encode({"dry_run": dry_run}), ACT_TIMEOUT_S)

    def shutdown(self, now: bool = False) -> None:
        """Begins to stop everything and returns. `wait_gone` tells when it is over."""
        self._request("POST", "/v1/shutdown", dict[str, Any], msgspec.json.encode({"now": now}), self._timeout)

    # ------------------------------------------------------------ inside

    def _act(self, name: str, verb: str, body: dict[str, Any] | None = None) -> None:
        data = msgspec.json.encode(body) if body else b""
        self._request("POST", f"/v1/services/{quote(name, safe='')}/{verb}", dict[str, Any], data, ACT_TIMEOUT_S)

    def _get(
        self, path: str, shape: type[Shape], query: dict[str, Any] | None = None, timeout: float | None = None
    ) -> Shape:
        target = f"{path}?{urlencode(query)}" if query else path
        return self._request("GET", target, shape, b"", timeout or self._timeout)

    def _request(self, method: str, target: str, shape: type[Shape], body: bytes, timeout: float) -> Shape:
        reply = self._send(method, target, body, timeout)
        try:
            data = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(f"{self.endpoint.netloc}: the supervisor broke off its answer: {error}") from None
        return _decode(data, shape)

    def _batches(
        self, path: str, query: list[tuple[str, str]], shape: type[Shape], *, follow: bool
    ) -> Iterator[list[Shape]]:
        reply = self._send("GET", f"{path}?{urlencode(query)}", b"", None if follow else self._timeout)
        decoder = msgspec.json.Decoder(shape)
        try:
            rest = b""
            while data := reply.read1(READ_BYTES):  # `readline` would take 50 µs for each
                lines, end, rest = (rest + data).rpartition(b"\n")
                if end and (items := decoder.decode_lines(lines)):  # empty lines tell that it goes on
                    yield items
            broken = bool(rest)
        except TimeoutError:
            raise self._silent() from None
        except (OSError, http.client.HTTPException):
            broken = True
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self.endpoint.netloc}: the supervisor's answer makes no sense: {error}") from None
        finally:
            self.close()
        if broken and not follow:  # who follows sees the supervisor end like this
            raise Unavailable(f"{self.endpoint.netloc}: the supervisor broke off its answer")

    def _send(self, method: str, target: str, body: bytes, timeout: float | None) -> http.client.HTTPResponse:
        """One request; the reply is a success, anything else has been raised."""
        self.close()
        connection = http.client.HTTPConnection(self.endpoint.host, self.endpoint.port, timeout=self._timeout)
        headers = {"Authorization": f"Bearer {self.endpoint.token}", "Host": self.endpoint.netloc}
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
            self._connection = connection
            connection.request(method, target, body or None, headers)
            reply = connection.getresponse()
            refusal = reply.read() if reply.status >= 300 else b""
        except ConnectionRefusedError:
            raise NothingRunning(
                f"{self.endpoint.netloc}: nothing is running there — `minikube up` starts it"
            ) from None
        except TimeoutError:
            self.close()
            raise self._silent() from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(f"{self.endpoint.netloc}: no answer from the supervisor: {error!r}") from None
        if reply.status >= 300:
            self.close()
            raise error_for(reply.status, refusal)
        return reply

    def _silent(self) -> Unavailable:
        pid = self.endpoint.pid
        way_out = f" (pid {pid}) does not answer — `minikube down --now` ends it" if pid else " does not answer"
        return Unavailable(f"{self.endpoint.netloc}: the supervisor{way_out}")


def _decode(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unavailable(f"the supervisor's answer makes no sense: {error}") from None
