"""The control API's client of the command line: one request at a time, each on a connection of its own.

It refuses to repeat a command that may have been executed.
"""

# Neither trio nor anything else slow is imported here: it would add to the start-up time of every command.
import http.client
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from minikube.control.client.endpoint import Endpoint, find_supervisor
from minikube.control.client.messages import ApplyReply, ClearReply, EventsReply, ServiceReply, error_for
from minikube.control.client.watchdog import Watchdog
from minikube.errors import NothingRunning, Unavailable, Unresponsive
from minikube.linux.processes import read_stat
from minikube.logs.query import LogQuery
from minikube.model import Event, LogLine, Snapshot

__all__ = ["ControlClient", "Endpoint", "EventsReply", "LogQuery", "ServiceReply", "find_supervisor"]

TIMEOUT_S = 5.0
"""Time for a request that is answered from memory. A supervisor that takes longer hangs."""

COMMAND_TIMEOUT_S = 600.0
"""Time for a command: stopping services takes the stop time-outs of all of them, in dependency order."""

WATCHED_S = 60.0
"""A wait that may take longer has a watchdog, which ends it where the supervisor does not answer any more."""

READ_BYTES = 65_536

LATEST = LogQuery()

Shape = TypeVar("Shape")


class ControlClient:
    """A client of one supervisor. Its methods block; it must not be used by two threads at the same time.

    Every method raises the error that the supervisor replies with (`NotFound`, `UsageError`, `Unavailable` or
    `RemoteError`), and `NothingRunning` if no supervisor listens at the endpoint.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float = TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._watchdog: Watchdog | None = None
        """The watchdog of the open connection, if that has one."""

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the supervisor, if one is open."""
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------ reading

    def status(self, *, after: int = -1, wait: float = 0.0) -> Snapshot:
        """Return the project's state. With `wait`, first wait up to that many seconds for a revision above `after`."""
        query = {"after": after, "wait": wait} if wait > 0 else {}
        return self._get("/v1/status", Snapshot, query, self._timeout + wait)

    def service(self, name: str) -> ServiceReply:
        """Return a service with its instances, or one instance by its name or id."""
        return self._get(f"/v1/services/{quote(name, safe='')}", ServiceReply)

    def events(self, since: int = 0, *, wait: float = 0.0) -> EventsReply:
        """Return the events with a number above `since`, oldest first. Wait up to `wait` seconds for the first one."""
        query = {"since": since, "wait": wait} if wait > 0 else {"since": since}
        return self._get("/v1/events", EventsReply, query, self._timeout + wait)

    def follow_events(self, since: int = 0) -> Iterator[Event]:
        """Yield the events with a number above `since`, then new ones, until the supervisor exits."""
        for batch in self._batches("/v1/events", [("since", str(since)), ("follow", "true")], Event, follow=True):
            yield from batch

    def log_batches(self, names: Sequence[str] = (), query: LogQuery = LATEST) -> Iterator[list[LogLine]]:
        """Yield log lines of the named services or instances (no name: of all services), in lists of lines that arrived together.

        If the query follows, new lines come as they are written, until the supervisor exits or `until` is over. Closing the
        generator closes the connection.
        """
        path, parameters = "/v1/logs", query.parameters()
        if len(names) == 1:
            path = f"/v1/services/{quote(names[0], safe='')}/logs"
        else:
            parameters += [("name", name) for name in names]
        yield from self._batches(path, parameters, LogLine, follow=query.follow)

    def clear_logs(self, names: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove the log lines of the named services or instances (no name: of all services); return the instances' names."""
        query = [("name", name) for name in names]
        target = f"/v1/logs?{urlencode(query)}" if query else "/v1/logs"
        self._check_answers()
        return self._request("DELETE", target, ClearReply, b"", COMMAND_TIMEOUT_S).cleared

    # ------------------------------------------------------------ commands (see `control.interface.ProjectCommands`)

    def start(self, name: str) -> None:
        """Start a service or an instance."""
        self._command(name, "start")

    def stop(self, name: str) -> None:
        """Stop a service or an instance, and keep it stopped."""
        self._command(name, "stop")

    def restart(self, name: str) -> None:
        """Stop and start a service or an instance."""
        self._command(name, "restart")

    def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal to the processes of a service or an instance."""
        self._command(name, "kill", {"signal": signal})

    def scale(self, name: str, replicas: int) -> None:
        """Set the number of a service's replicas."""
        self._command(name, "scale", {"replicas": replicas})

    def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        """Start (`on`) or end the maintenance of a service or an instance: discovery does not return it meanwhile."""
        self._command(name, "maintenance", {"on": on, "reason": reason})

    def apply(self, *, dry_run: bool = False) -> ApplyReply:
        """Apply the changes of the manifest to the running project, and return them; with `dry_run`, only return them.

        Raise `UsageError` if the manifest is invalid or has a change that needs a restart of the supervisor.
        """
        body = msgspec.json.encode({"dry_run": dry_run})
        self._check_answers()
        return self._request("POST", "/v1/apply", ApplyReply, body, COMMAND_TIMEOUT_S)

    def shutdown(self, now: bool = False) -> None:
        """Ask the supervisor to stop all services and exit, with `now` all services at once. Return immediately."""
        self._request("POST", "/v1/shutdown", dict[str, Any], msgspec.json.encode({"now": now}), self._timeout)

    # ------------------------------------------------------------ inside

    def _command(self, name: str, command: str, body: dict[str, Any] | None = None) -> None:
        """Run a command on a service or an instance, and wait until it is done."""
        data = msgspec.json.encode(body) if body else b""
        self._check_answers()
        self._request("POST", f"/v1/services/{quote(name, safe='')}/{command}", dict[str, Any], data, COMMAND_TIMEOUT_S)

    def _check_answers(self) -> None:
        """Raise `Unresponsive` where the supervisor does not answer.

        Before a command: one that was sent to a suspended supervisor would be executed when that is resumed.
        """
        self._get("/health", dict[str, Any])

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
            raise Unavailable(f"{self.endpoint.netloc}: the supervisor did not complete its reply: {error}") from None
        return _decode(data, shape)

    def _batches(
        self, path: str, query: list[tuple[str, str]], shape: type[Shape], *, follow: bool
    ) -> Iterator[list[Shape]]:
        """Yield the lines of an NDJSON response, decoded as the type `shape`, in lists of lines that arrived together."""
        reply = self._send("GET", f"{path}?{urlencode(query)}", b"", None if follow else self._timeout)
        watchdog = self._watchdog
        decoder = msgspec.json.Decoder(shape)
        try:
            rest = b""
            while data := reply.read1(READ_BYTES):  # `readline` would take 50 µs per line
                lines, end, rest = (rest + data).rpartition(b"\n")
                if end and (items := decoder.decode_lines(lines)):  # keep-alive lines are empty
                    yield items
            broken = bool(rest)
        except TimeoutError:
            raise self._timeout_error() from None
        except (OSError, http.client.HTTPException):
            broken = True
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self.endpoint.netloc}: the supervisor sent a malformed reply: {error}") from None
        finally:
            self.close()
        if watchdog is not None and watchdog.has_fired:
            raise self._timeout_error()
        # A response that follows ends like this when the supervisor exits.
        if broken and not follow:
            raise Unavailable(f"{self.endpoint.netloc}: the supervisor did not complete its reply")

    def _send(self, method: str, target: str, body: bytes, timeout: float | None) -> http.client.HTTPResponse:
        """Send a request and return the response to read its body from. Raise the error of an error reply."""
        self.close()
        connection = http.client.HTTPConnection(self.endpoint.host, self.endpoint.port, timeout=self._timeout)
        headers = {"Authorization": f"Bearer {self.endpoint.token}", "Host": self.endpoint.netloc}
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
            self._connection = connection
            if timeout is None or timeout > WATCHED_S:
                self._watchdog = Watchdog(connection.sock, self.endpoint.host, self.endpoint.port, self._timeout)
            connection.request(method, target, body or None, headers)
            reply = connection.getresponse()
            error_body = reply.read() if reply.status >= 300 else b""
        except ConnectionRefusedError:
            raise NothingRunning(
                f"{self.endpoint.netloc}: nothing is running there — `minikube up` starts it"
            ) from None
        except TimeoutError:
            self.close()
            raise self._timeout_error() from None
        except (OSError, http.client.HTTPException) as error:
            has_fired = self._watchdog is not None and self._watchdog.has_fired
            self.close()
            if has_fired:
                raise self._timeout_error() from None
            raise Unavailable(f"{self.endpoint.netloc}: no answer from the supervisor: {error!r}") from None
        if reply.status >= 300:
            self.close()
            raise error_for(reply.status, error_body)
        return reply

    def _timeout_error(self) -> Unresponsive:
        pid = self.endpoint.pid
        text = f" (pid {pid}) does not answer — `minikube down --now` ends it" if pid else " does not answer"
        stat = read_stat(pid) if pid else None
        if stat is not None and stat.is_stopped:
            text += f", `kill -CONT {pid}` resumes it: it is suspended"
        return Unresponsive(f"{self.endpoint.netloc}: the supervisor{text}")


def _decode(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unavailable(f"the supervisor sent a malformed reply: {error}") from None
