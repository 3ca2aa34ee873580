"""One connection of the RPC server (floor 2): bytes in, calls, bytes out. Refuses to touch a socket or wait for one.

`rpc_server` owns the sockets; it feeds a `RpcConnection` what was received and sends what the peer has ready. All lines of
one receive are decoded and answered together, so that they go out with one send. What needs waiting (a write to
the store, a long poll) runs as a task of its own and answers when it is done, out of order.

Bounds: while too many calls are under way, or too many bytes wait to be sent, the rest of the input is left
unread (TCP's own backpressure). A peer that lets notifications pile up is disconnected.
"""

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import trio
from msgspec import UNSET, Raw

from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.lines import LineReader, LineTooLong
from minikube.jsonrpc.messages import Batch, InvalidRequest, Message, ReplyLine, Request, decode_requests
from minikube.net.rpc.interface import RpcConnection, RpcService, ServerContext
from minikube.net.rpc.limits import RpcLimits
from minikube.net.rpc.replies import batch_line, error_line, refuse_batch

LOGGER = logging.getLogger("minikube.rpc")

Call = tuple[int, Request]
"""One of a batch, with its place in it."""


class ServerConnection(RpcConnection):
    """A connected client, as methods see it. `closed` is set when the connection is gone."""

    def __init__(self, service: RpcService, server: ServerContext, limits: RpcLimits, address: str) -> None:
        self.address = address
        self.authenticated = False
        """For the methods' own use: the server asks for nothing."""
        self.closed = trio.Event()
        self.seen_line = False
        self.ending = ""
        """Why the connection is to be ended once everything is sent; empty while it is well."""
        self.aborted = ""
        """Why it is to be ended at once."""
        self._service = service
        self._server = server
        self._limits = limits
        self._reader = LineReader(limits.line)
        self._left: list[Message] = []
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._held = 0
        """Bytes of answers that wait for others of their batch."""
        self._in_flight = 0
        self._turn = trio.Lock()
        self._room = trio.Event()
        self._lags = False
        self._scopes: set[trio.CancelScope] = set()

    # ------------------------------------------------------------ for methods

    @property
    def clients(self) -> int:
        """How many connections the server has open."""
        return self._server.clients

    def notify(self, method: str, params: Raw | bytes | Any) -> None:
        """Send a notification; `params` may be JSON bytes made earlier. Never waits.

        A peer that does not keep up is disconnected; a closed one is ignored.
        """
        self.send(jsonrpc.encode_notification(method, Raw(params) if isinstance(params, bytes) else params))

    def send(self, line: bytes) -> None:
        """Send a whole line made by the caller: one encoding can serve many peers. As `notify` otherwise."""
        if self.closed.is_set() or self.aborted or self.ending:
            return
        if self._out_bytes > self._limits.unsent and self._is_too_late():
            self.abort("it does not read what it is sent")
            return
        self._put(line)
        self._server.schedule_update(self)

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run a task that ends with the connection. If it raises, the connection is ended, nothing else."""
        self._server.start_soon(self._run, function, args)

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self.aborted = self.aborted or reason
        self._server.schedule_update(self)

    # ------------------------------------------------------------ for the server

    def feed(self, data: bytes) -> None:
        """Take what was received. Answers that are ready now are in `take_output` afterwards."""
        if self.ending:
            return
        if not self._left and not self._reader.pending and (answer := self._service.try_fast(data, self)) is not None:
            self.seen_line = True
            self._put(answer)  # past the bound by one receive's answers at most
            return
        try:
            lines = self._reader.feed(data)
        except LineTooLong as error:
            self._receive(error.lines)
            self.end(f"invalid request: {error}", jsonrpc.INVALID_REQUEST)
        else:
            self._receive(lines)

    def end(self, reason: str, code: int = jsonrpc.REFUSED) -> None:
        """Tell the peer why, and end the connection when that is sent."""
        if not self.ending:
            self.ending = reason
            self._put(jsonrpc.encode_error(None, code, reason))

    def take_output(self) -> bytes:
        """Everything waiting to be sent; the caller owes `sent` for it."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def sent(self, count: int) -> None:
        """So many bytes have left."""
        self._out_bytes -= count
        if self._out_bytes <= self._limits.unsent:
            self._room.set()
            self._lag(False)

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._out_bytes

    @property
    def is_writable(self) -> bool:
        """Whether what was answered before is sent, but for a little."""
        return self._out_bytes <= self._limits.unsent

    @property
    def is_full(self) -> bool:
        """True while nothing more may be read."""
        return self._is_busy or self._out_bytes > self._limits.unsent

    @property
    def _is_busy(self) -> bool:
        """As many calls wait as may."""
        limits, own = self._limits, self._in_flight
        return own >= limits.in_flight or (own >= limits.share and self._server.waiting_calls >= limits.waiting)

    @property
    def is_idle(self) -> bool:
        """True when nothing is under way and nothing waits to be sent."""
        return not self._in_flight and not self._out_bytes and not self._left

    def catch_up(self) -> bool:
        """Process what was received and left while the peer was full. False when there was nothing, or it still is."""
        if not self._left or self.is_full:
            return False
        messages, self._left = self._left, []
        self._process(messages)
        return True

    def close(self) -> None:
        """The connection is gone: its tasks are cancelled."""
        self.closed.set()
        self._lag(False)
        for scope in tuple(self._scopes):
            scope.cancel()

    # ------------------------------------------------------------ inside

    def _put(self, line: bytes) -> None:
        self._out.append(line)
        self._out_bytes += len(line)

    def _receive(self, lines: list[bytes]) -> None:
        if filled := list(filter(None, lines)):
            self.seen_line = True
            messages = decode_requests(filled)
            if self._left:
                self._left += messages
            else:
                self._process(messages)

    def _process(self, messages: list[Message]) -> None:
        # At a million messages a second each property or call in this loop shows, hence what is spelt out or kept local.
        now, out = self._service.handle_sync, self._out
        room = self._limits.unsent - self._out_bytes
        began = perf_counter()
        size = others = 0
        for index, message in enumerate(messages):
            if type(message) is Request or isinstance(message, Request):
                mark = len(out)
                try:
                    answer = now(message, self)
                except Exception as error:
                    answer = error_line(message, error)
                if answer is None:
                    others += 1
                    self._begin(1)
                    self._server.start_soon(self._answer, message)
                elif message.id is not UNSET or message.jsonrpc is UNSET:  # no notification
                    # In front of what the method itself sent meanwhile: a snapshot comes before its changes.
                    out.insert(mark, answer)
                    size += len(answer)
                    if size <= room:
                        continue
            elif isinstance(message, InvalidRequest):
                others += 1
                self._put(message.error)
            else:
                others += 1
                self._begin_batch(message)
            if size + self._out_bytes > self._limits.unsent or self._is_busy:
                self._left = messages[index + 1 :]
                break
        self._out_bytes += size
        if index >= others:
            self._service.on_handled(index + 1 - others, perf_counter() - began)

    async def _answer(self, request: Request) -> None:
        line = b""
        try:
            with trio.CancelScope() as scope:
                self._enter(scope)
                await self.wait_writable()
                line = await self._call(request)
        finally:
            self._begin(-1)
            self._scopes.discard(scope)
        if not request.is_notification and not self.closed.is_set():
            self._put(line)
        self._server.schedule_update(self)

    async def _call(self, request: Request) -> bytes:
        try:
            result = await self._service.handle(request, self)
            return result if type(result) is ReplyLine else jsonrpc.encode_reply(request, result)
        except Exception as error:
            return error_line(request, error)

    def _enter(self, scope: trio.CancelScope) -> None:
        self._scopes.add(scope)
        if self.closed.is_set():
            scope.cancel()

    async def _run(self, function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        with trio.CancelScope() as scope:
            self._enter(scope)
            try:
                await function(*args)
            except Exception:
                LOGGER.exception("a task of the connection from %s failed; the connection is ended", self.address)
                self.abort("internal error")
        self._scopes.discard(scope)

    def _begin_batch(self, batch: Batch) -> None:
        answers: list[bytes] = []
        calls: list[Call] = []
        last: list[Call] = []
        for index, item in enumerate(batch.items):
            answers.append(item.error if isinstance(item, InvalidRequest) else b"")
            if not isinstance(item, InvalidRequest):
                (last if item.method in self._service.notifying_methods else calls).append((index, item))
        waiting = self._answer_now(calls, answers)
        mark = len(self._out)
        if not waiting:
            last = self._answer_now(last, answers)
        if waiting or last:
            self._begin(len(waiting) + len(last))
            self._server.start_soon(self._finish_batch, answers, waiting, last)
        else:
            self._put_batch(answers, mark)

    def _answer_now(self, calls: list[Call], answers: list[bytes]) -> list[Call]:
        """Fill in the answers that need no waiting. Returns the calls that do; none of those past the bound is made."""
        began = perf_counter()
        waiting: list[Call] = []
        made = size = 0
        for index, request in calls:
            if size > self._limits.backlog:
                break
            try:
                answer = self._service.handle_sync(request, self)
            except Exception as error:
                answer = error_line(request, error)
            if answer is None:
                waiting.append((index, request))
                continue
            made += 1
            if not request.is_notification:
                answers[index] = answer
                size += len(answer)
        if made:
            self._service.on_handled(made, perf_counter() - began)
        return waiting

    async def _finish_batch(self, answers: list[bytes], waiting: list[Call], last: list[Call]) -> None:
        """Make the calls that wait, and answer. Past the bound, which all batches of a connection share for as long as
        they hold answers back, no more is made: what is under way is cancelled, the batch is refused."""
        most = self._limits.backlog
        own = refused = mark = 0

        def hold(count: int) -> None:
            nonlocal own, refused
            own += count
            self._held += count
            if self._held > most:
                refused = refused or self._held

        async def fill(index: int, request: Request) -> None:
            if not refused:
                line = await self._call(request)
                answers[index] = b"" if request.is_notification else line
                hold(len(answers[index]))
                if refused:
                    scope.cancel()

        try:
            with trio.CancelScope() as whole:
                self._enter(whole)
                await self.wait_writable()
                hold(sum(map(len, answers)))
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        for call in waiting:
                            nursery.start_soon(fill, *call)
                mark = len(self._out)
                if not refused:
                    for call in self._answer_now(last, answers):
                        await fill(*call)
        finally:
            self._begin(-len(waiting) - len(last))
            self._held -= own
            self._scopes.discard(whole)
        if not self.closed.is_set():
            if refused:
                self._put(refuse_batch(refused, most))
            else:
                self._put_batch(answers, mark)
        self._server.schedule_update(self)

    def _put_batch(self, answers: list[bytes], mark: int) -> None:
        """In front of what the batch's own methods have sent, which is everything from `mark` on."""
        if line := batch_line(answers, self._limits.backlog):
            self._out.insert(mark, line)
            self._out_bytes += len(line)

    def _is_too_late(self) -> bool:
        self._lag(True)
        limits = self._limits
        return self._out_bytes > min(
            limits.backlog, max(limits.unsent, limits.backlogs // self._server.slow_connections)
        )

    def _lag(self, lags: bool) -> None:
        self._server.slow_connections += lags - self._lags
        self._lags = lags

    def _begin(self, count: int) -> None:
        """So many calls more wait; fewer, where it is negative."""
        self._in_flight += count
        self._server.waiting_calls += count

    async def wait_writable(self) -> None:
        """Until what was answered before is sent, so that large answers do not pile up. In the order of the calls."""
        if self.is_writable and not self._turn.locked():
            return
        async with self._turn:
            while not self.is_writable:
                self._room = trio.Event()
                await self._room.wait()
