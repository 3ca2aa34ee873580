"""Asks one instance how it is: an HTTP exchange or a TCP connect, with one deadline over the whole (floor 2, trio).

Holds no policy: it returns a `ProbeResult` and never raises for what a service does. Redirects are not followed, at
most 4 KiB of an answer is read. TLS certificates are not verified (a probe goes to the very host that registered,
by address; kubelet does the same). `Prober` keeps connections alive for those who probe so many that new
connections would fill the kernel's table; by default each probe closes its own, since an idle kept connection
blocks a single-threaded HTTP/1.1 server.
"""

import errno
import os
import ssl
from urllib.parse import SplitResult, urlsplit

import trio

from minikube.health.http_response import HttpResponse
from minikube.health.state import Outcome, ProbeResult

_STALE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Prober:
    """Probes by URL; with `keep` > 0 up to that many idle connections are kept, one for each URL."""

    def __init__(self, keep: int = 0) -> None:
        self.keep = keep
        self._idle: dict[str, trio.abc.Stream] = {}
        self._parsed: dict[str, SplitResult] = {}
        self._tls: ssl.SSLContext | None = None

    async def probe(self, url: str, timeout: float) -> ProbeResult:
        """Ask `url` (`http://`, `https://` or `tcp://host:port`); the whole exchange ends within `timeout` seconds."""
        began = trio.current_time()
        outcome, output = Outcome.TIMEOUT, f"no answer within {timeout:g} s"
        with trio.move_on_after(timeout):
            outcome, output = await self._ask(url)
        return ProbeResult(outcome, output, began, trio.current_time())

    def forget(self, url: str) -> None:
        """Close what is kept for `url`: the instance is gone."""
        self._parsed.pop(url, None)
        stream = self._idle.pop(url, None)
        if stream is not None:
            _drop(stream)

    def close(self) -> None:
        """Close every kept connection."""
        for url in list(self._idle):
            self.forget(url)

    async def _ask(self, url: str) -> tuple[Outcome, str]:
        try:
            parts = self._parsed.get(url) or urlsplit(url)
            if self.keep:
                self._parsed[url] = parts
            if parts.scheme == "tcp":
                stream = await _connect(parts, 0)
                _drop(stream)
                return Outcome.PASS, "connected"
            return await self._exchange(url, parts)
        except (OSError, ValueError, trio.BrokenResourceError, EOFError) as error:
            return Outcome.FAIL, _explain(error)

    async def _exchange(self, url: str, parts: SplitResult) -> tuple[Outcome, str]:
        request = _request(parts, keep=self.keep > 0)
        kept = self._idle.pop(url, None)
        if kept is not None:
            try:
                return await self._talk(url, kept, request)
            except (OSError, EOFError, *_STALE):
                pass  # the server closed an idle connection, as it may: that says nothing of its health
        secure = parts.scheme == "https"
        stream: trio.abc.Stream = await _connect(parts, 443 if secure else 80)
        if secure:
            stream = trio.SSLStream(stream, self._tls_context(), server_hostname=parts.hostname, https_compatible=True)
        return await self._talk(url, stream, request)

    async def _talk(self, url: str, stream: trio.abc.Stream, request: bytes) -> tuple[Outcome, str]:
        answer = HttpResponse()
        keep = False
        try:
            await stream.send_all(request)
            while not answer.complete:
                data = bytes(await stream.receive_some(answer.room))
                answer.feed(data)
            # Two instances may have one URL: what the other one's probe left meanwhile is as good.
            keep = answer.reusable and url not in self._idle and len(self._idle) < self.keep
        finally:
            if not keep:
                _drop(stream)
        if keep:
            self._idle[url] = stream
        return (Outcome.PASS if 200 <= answer.status <= 299 else Outcome.FAIL), answer.output

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        return self._tls


async def _connect(parts: SplitResult, default_port: int) -> trio.SocketStream:
    host = parts.hostname or ""
    return await trio.open_tcp_stream(host, parts.port or default_port)


def _drop(stream: trio.abc.Stream) -> None:
    """Close without a word and without waiting; TLS close_notify is not owed to a probe's answer."""
    bottom = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(bottom, trio.SocketStream):
        bottom.socket.close()


def _request(parts: SplitResult, *, keep: bool) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    connection = "keep-alive" if keep else "close"
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: minikube-probe",
        "Accept: */*",
        f"Connection: {connection}",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def _explain(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "the connection was closed before an answer"
    while isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
        error = error.__cause__  # trio wraps the error of each attempt to connect
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ECONNREFUSED:
            return "connection refused"
        return os.strerror(error.errno) if error.errno > 0 else str(error)
    return str(error) or type(error).__name__
