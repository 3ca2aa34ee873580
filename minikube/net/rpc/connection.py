"""One connection of the RPC server without its socket: bytes in, calls, bytes out. It never waits for a socket.

`server` owns the sockets: it feeds a `ServerConnection` what was received, and sends what the connection has ready. All
lines of one receive are decoded and handled together, so that their replies leave with one send. A call that must wait (a
write to the store, a long poll) runs in a task of its own and replies when it is done, out of order.

A line that is not JSON ends the connection: the calls before it are answered, and what follows it is dropped unread.

Limits: while too many calls wait, or too many bytes are unsent, the rest of the input is not read, so that TCP holds the
client back. A client that lets notifications pile up is disconnected. More than 400 lines in one piece: the waiting calls, the
unsent output and the postponed input bound one another.
"""

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import trio
from msgspec import UNSET, Raw

from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.lines import LineReader, LineTooLong
from minikube.jsonrpc.messages import Batch, InvalidRequest, Message, NotJson, ReplyLine, Request, decode_request
from minikube.net.peers import Peer
from minikube.net.rpc.interface import RpcConnection, RpcService, ServerContext
from minikube.net.rpc.limits import RpcLimits
from minikube.net.rpc.replies import batch_error_line, batch_line, error_line

LOGGER = logging.getLogger("minikube.rpc")

BatchCall = tuple[int, Request]
"""A call of a batch, with its index in the batch."""


class ServerConnection(RpcConnection):
    """A client's connection without its socket: takes received bytes, calls the service, returns bytes to send.

    Implements `RpcConnection` for the service; the other public methods are for the server.
    """

    def __init__(
        self,
        service: RpcService,
        server: ServerContext,
        limits: RpcLimits,
        address: str,
        find_uid: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.address = address
        self.authenticated = False
        self.is_protected = False
        self.loopback_host = ""
        self.session: Any = None
        self.closed = trio.Event()
        self.has_received_line = False
        self.end_reason = ""
        """Why the connection is to be closed once everything is sent; empty if it is not."""
        self.abort_reason = ""
        """Why the connection is to be closed without sending the rest; empty if it is not."""
        self._service = service
        self._server = server
        self._limits = limits
        self._reader = LineReader(limits.line)
        self._postponed: list[Message] = []
        """Messages that were received and not handled yet, because the connection was full."""
        self._output: list[bytes] = []
        self._unsent = 0
        self._held_by_batches = 0
        """Bytes of replies that wait for other replies of their batch."""
        self._waiting_calls = 0
        self._write_turn = trio.Lock()
        self._became_writable: trio.Event | None = None
        """Made while a task waits until the connection is writable."""
        self._is_slow = False
        self._scopes: set[trio.CancelScope] = set()
        self._find_uid = find_uid
        self._peer: Peer | None = None

    # ------------------------------------------------------------ for the service, as documented in `RpcConnection`

    @property
    def peer(self) -> Peer:
        if self._peer is None:
            self._peer = Peer(self.address.rpartition(":")[0], self._find_uid())
        return self._peer

    @property
    def clients(self) -> int:
        return self._server.clients

    @property
    def is_writable(self) -> bool:
        return self._unsent <= self._limits.unsent

    async def wait_writable(self) -> None:
        if self.is_writable and not self._write_turn.locked():
            return
        async with self._write_turn:
            while not self.is_writable:
                became_writable = self._became_writable = trio.Event()
                await became_writable.wait()

    def notify(self, method: str, params: Raw | bytes | Any) -> None:
        self.send(jsonrpc.encode_notification(method, Raw(params) if isinstance(params, bytes) else params))

    def send(self, line: bytes) -> None:
        if self.closed.is_set() or self.abort_reason or self.end_reason:
            return
        if self._unsent > self._limits.unsent and self._is_too_slow():
            self.abort("the client does not read what it is sent")
            return
        self._put(line)
        self._server.schedule_update(self)

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._server.start_soon(self._run_task, function, args)

    def abort(self, reason: str) -> None:
        self.abort_reason = self.abort_reason or reason
        self._server.schedule_update(self)

    # ------------------------------------------------------------ for the server

    def feed(self, data: bytes) -> None:
        """Handle received bytes. `take_output` then returns the replies that needed no waiting."""
        if self.end_reason:
            return
        has_rest = self._postponed or self._reader.pending
        if not has_rest and (replies := self._service.try_fast(data, self)) is not None:
            self.has_received_line = True
            # May exceed the limit of unsent bytes, by the replies to one receive at most.
            self._put(replies)
            return
        try:
            lines = self._reader.feed(data)
        except LineTooLong as error:
            self._handle_lines(error.lines)
            self.end(f"invalid request: {error}", jsonrpc.INVALID_REQUEST)
        else:
            self._handle_lines(lines)
            # A TLS hello may have no line end: without this check its client would wait for the first line's deadline.
            if self._reader.pending and not jsonrpc.may_be_json(self._reader.pending_start):
                self._end_with(jsonrpc.not_json_error(), "not JSON")

    def feed_end(self) -> None:
        """Handle the last line if the client has closed its sending side without ending the line."""
        if not self.end_reason and (line := self._reader.finish()):
            self._handle_lines([line])

    def end(self, reason: str, code: int = jsonrpc.REFUSED) -> None:
        """Queue an error with the reason for the client, and ignore its further input. The server then closes the connection."""
        self._end_with(jsonrpc.encode_error(None, code, reason), reason)

    def _end_with(self, error: bytes, reason: str) -> None:
        """Queue an error line for the client, and ignore its further input. Do nothing if the connection ends already."""
        if not self.end_reason:
            self.end_reason = reason
            self._put(error)

    def take_output(self) -> bytes:
        """Return the output that is queued. The caller must report the bytes that it has sent to `on_sent`."""
        output = self._output
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def on_sent(self, count: int) -> None:
        """Record that `count` bytes of the output were sent. Wake tasks that wait until the connection is writable."""
        self._unsent -= count
        # Most connections were writable before, too: for them this is all.
        if (self._is_slow or self._became_writable) and self.is_writable:
            if self._became_writable:
                self._became_writable.set()
                self._became_writable = None
            self._set_slow(False)

    @property
    def unsent(self) -> int:
        """Number of bytes of output that are not sent yet, including those that `take_output` has returned."""
        return self._unsent

    @property
    def is_full(self) -> bool:
        """Whether the server must not read from the client for now: too much output, or too many calls wait."""
        return self._unsent > self._limits.unsent or (self._waiting_calls > 0 and self._has_too_many_calls)

    @property
    def has_tasks(self) -> bool:
        """Whether calls wait or tasks of the service run."""
        return bool(self._waiting_calls or self._scopes)

    @property
    def is_idle(self) -> bool:
        """Whether no call waits, nothing is unsent and no message is postponed."""
        return not self._waiting_calls and not self._unsent and not self._postponed

    def process_postponed(self) -> bool:
        """Handle the messages that were postponed while the connection was full. Return whether any were."""
        if not self._postponed or self.is_full:
            return False
        messages, self._postponed = self._postponed, []
        self._handle_messages(messages)
        return True

    def on_closed(self) -> None:
        """Cancel the connection's tasks: its socket is closed."""
        self.closed.set()
        self._set_slow(False)
        for scope in tuple(self._scopes):
            scope.cancel()

    # ------------------------------------------------------------ handling messages

    def _handle_lines(self, lines: list[bytes]) -> None:
        """Decode the lines, and handle their messages or postpone them."""
        if not_empty := list(filter(bytes.strip, lines)):
            self.has_received_line = True
            messages = list(map(decode_request, not_empty))
            if self._postponed:
                self._postponed += messages
            else:
                self._handle_messages(messages)

    def _handle_messages(self, messages: list[Message]) -> None:
        """Handle the messages in order. Postpone the rest once the connection is full."""
        # At a million messages a second each attribute or call in this loop shows, hence the local names and the
        # conditions that are written out instead of calling a method.
        handle_sync, output = self._service.handle_sync, self._output
        room = self._limits.unsent - self._unsent
        start = perf_counter()
        size = others = 0
        for index, message in enumerate(messages):
            if type(message) is Request or isinstance(message, Request):
                position = len(output)
                try:
                    reply = handle_sync(message, self)
                except Exception as error:
                    reply = error_line(message, error)
                if reply is None:
                    others += 1
                    self._add_waiting_calls(1)
                    self._server.start_soon(self._handle, message)
                elif message.id is not UNSET or message.jsonrpc is UNSET:  # not a notification
                    # In front of what the method itself has sent meanwhile: a watch's snapshot comes before its changes.
                    output.insert(position, reply)
                    size += len(reply)
                    if size <= room:
                        continue
            elif isinstance(message, InvalidRequest):
                others += 1
                if isinstance(message, NotJson):
                    self._end_with(message.error, "not JSON")
                    break  # what follows may be the body of a web page's POST
                self._put(message.error)
            else:
                others += 1
                self._handle_batch(message)
            if size + self._unsent > self._limits.unsent or self._has_too_many_calls:
                self._postponed = messages[index + 1 :]
                break
        self._unsent += size
        if index >= others:
            self._service.on_handled(index + 1 - others, perf_counter() - start)

    async def _handle(self, request: Request) -> None:
        """Handle a call that must wait, and queue its reply."""
        line = b""
        try:
            with trio.CancelScope() as scope:
                self._add_scope(scope)
                # Large replies must not pile up: no call starts before earlier replies are sent.
                await self.wait_writable()
                line = await self._reply_line(request)
        finally:
            self._add_waiting_calls(-1)
            self._scopes.discard(scope)
            self._service.on_ended(request, self)
        if not request.is_notification and not self.closed.is_set():
            self._put(line)
        self._server.schedule_update(self)

    async def _reply_line(self, request: Request) -> bytes:
        """Call the method, and return its reply or error line."""
        try:
            result = await self._service.handle(request, self)
            return result if type(result) is ReplyLine else jsonrpc.encode_reply(request, result)
        except Exception as error:
            return error_line(request, error)

    async def _run_task(self, function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        """Run a task of the service until it ends or the connection is closed. End the connection if the task raises."""
        with trio.CancelScope() as scope:
            self._add_scope(scope)
            try:
                await function(*args)
            except Exception:
                LOGGER.exception("a task of the connection from %s failed; the connection is closed", self.address)
                self.abort("internal error")
        self._scopes.discard(scope)

    # ------------------------------------------------------------ handling batches

    def _handle_batch(self, batch: Batch) -> None:
        """Handle a batch: queue the reply at once if none of its calls must wait, else start a task for them."""
        replies: list[bytes] = []
        calls: list[BatchCall] = []
        notifying: list[BatchCall] = []
        for index, item in enumerate(batch.items):
            replies.append(item.error if isinstance(item, InvalidRequest) else b"")
            if not isinstance(item, InvalidRequest):
                is_notifying = item.method in self._service.notifying_methods
                (notifying if is_notifying else calls).append((index, item))
        waiting = self._handle_calls_sync(calls, replies)
        position = len(self._output)
        if not waiting:
            notifying = self._handle_calls_sync(notifying, replies)
        if waiting or notifying:
            self._add_waiting_calls(len(waiting) + len(notifying))
            self._server.start_soon(self._finish_batch, replies, waiting, notifying)
        else:
            self._put_batch(replies, position)

    def _handle_calls_sync(self, calls: list[BatchCall], replies: list[bytes]) -> list[BatchCall]:
        """Handle the calls that need no waiting and put their replies into `replies`. Return the calls that must wait.

        Stop when the replies exceed the limit: the batch is refused then.
        """
        start = perf_counter()
        waiting: list[BatchCall] = []
        handled = size = 0
        for index, request in calls:
            if size > self._limits.backlog:
                break
            try:
                reply = self._service.handle_sync(request, self)
            except Exception as error:
                reply = error_line(request, error)
            if reply is None:
                waiting.append((index, request))
                continue
            handled += 1
            if not request.is_notification:
                replies[index] = reply
                size += len(reply)
        if handled:
            self._service.on_handled(handled, perf_counter() - start)
        return waiting

    async def _finish_batch(self, replies: list[bytes], waiting: list[BatchCall], notifying: list[BatchCall]) -> None:
        """Handle the `waiting` calls of a batch, then the `notifying` ones, and queue the reply to the batch."""
        # All batches of a connection share one limit for the replies that they hold back. A batch that exceeds it is
        # refused: its waiting calls are cancelled, and no further ones are handled.
        limit = self._limits.backlog
        held = refused_size = position = 0

        def hold(count: int) -> None:
            nonlocal held, refused_size
            held += count
            self._held_by_batches += count
            if self._held_by_batches > limit:
                refused_size = refused_size or self._held_by_batches

        async def handle(index: int, request: Request) -> None:
            if not refused_size:
                try:
                    line = await self._reply_line(request)
                finally:
                    self._service.on_ended(request, self)  # other calls of the batch may wait for it
                replies[index] = b"" if request.is_notification else line
                hold(len(replies[index]))
                if refused_size:
                    calls_scope.cancel()

        try:
            with trio.CancelScope() as batch_scope:
                self._add_scope(batch_scope)
                await self.wait_writable()
                hold(sum(map(len, replies)))
                with trio.CancelScope() as calls_scope:
                    async with trio.open_nursery() as nursery:
                        for call in waiting:
                            nursery.start_soon(handle, *call)
                position = len(self._output)
                if not refused_size:
                    for call in self._handle_calls_sync(notifying, replies):
                        await handle(*call)
        finally:
            self._add_waiting_calls(-len(waiting) - len(notifying))
            self._held_by_batches -= held
            self._scopes.discard(batch_scope)
            for _, request in (*waiting, *notifying):
                self._service.on_ended(request, self)  # also those that were not handled
        if not self.closed.is_set():
            if refused_size:
                self._put(batch_error_line(refused_size, limit))
            else:
                self._put_batch(replies, position)
        self._server.schedule_update(self)

    def _put_batch(self, replies: list[bytes], position: int) -> None:
        """Queue the reply to a batch in front of the notifications of its own methods, which start at `position`."""
        if line := batch_line(replies, self._limits.backlog):
            self._output.insert(position, line)
            self._unsent += len(line)

    # ------------------------------------------------------------ state

    def _put(self, line: bytes) -> None:
        """Add a line to the queued output."""
        self._output.append(line)
        self._unsent += len(line)

    def _add_scope(self, scope: trio.CancelScope) -> None:
        """Cancel the scope when the connection is closed; at once if it is closed already."""
        self._scopes.add(scope)
        if self.closed.is_set():
            scope.cancel()

    @property
    def _has_too_many_calls(self) -> bool:
        limits, own = self._limits, self._waiting_calls
        return own >= limits.in_flight or (own >= limits.share and self._server.waiting_calls >= limits.waiting)

    def _add_waiting_calls(self, count: int) -> None:
        """Add `count` to the number of waiting calls; it is negative for calls that are done."""
        self._waiting_calls += count
        self._server.waiting_calls += count

    def _is_too_slow(self) -> bool:
        """Mark the connection as slow, and return whether it has more unsent bytes than a slow connection may have."""
        self._set_slow(True)
        limits = self._limits
        share = limits.backlogs // self._server.slow_connections
        return self._unsent > min(limits.backlog, max(limits.unsent, share))

    def _set_slow(self, is_slow: bool) -> None:
        self._server.slow_connections += is_slow - self._is_slow
        self._is_slow = is_slow
