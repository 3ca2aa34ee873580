"""Probe one instance: an HTTP exchange or a TCP connect, with one deadline over the whole.

It holds no policy: it returns a `ProbeResult` and raises nothing for what a service does. Which addresses are never probed
is an argument. It does not follow redirects, reads at most 4 KiB of a response, and does not verify TLS certificates: a probe
goes to the host that registered, by address, as kubelet's probes do.
"""

import errno
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

import trio

from minikube.health.http_response import HttpResponse
from minikube.health.state import Outcome, ProbeResult

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What is missing here, not at the instance: such a probe tells nothing about it."""

NEXT_ADDRESS_S = 0.25
"""When the next address of a host is tried as well, while one does not answer (RFC 8305, section 5)."""

SocketAddress = tuple[socket.AddressFamily, Any]
"""A family, and what `socket.connect` takes for it."""


class RefusedTarget(Exception):
    """The host has only addresses that are never probed; the text names one and says why."""


class Prober:
    """Sends probes to URLs. Keeps up to `max_idle` connections open between probes, one for each URL.

    The default is 0, because an idle connection blocks a server that serves one connection at a time. Set `max_idle` if so
    many instances are probed that new connections would fill the kernel's table of closed ones (TIME_WAIT).
    """

    def __init__(self, max_idle: int = 0, refusal: Callable[[str], str] = lambda address: "") -> None:
        """`refusal` returns why an IP address must not be connected to; empty if it may. It is asked at each connect.

        A name may stand for another address at each probe, so a check of the URL alone would not do.
        """
        self._refusal = refusal
        self.max_idle = max_idle
        self._users: dict[str, int] = {}
        """How many instances have each URL, of those that are probed regularly."""
        self._idle: dict[str, trio.abc.Stream] = {}
        self._parsed: dict[str, SplitResult] = {}
        self._tls: ssl.SSLContext | None = None

    async def probe(self, url: str, timeout: float) -> ProbeResult:
        """Probe `url` (`http://…`, `https://…` or `tcp://host:port`) and return the result within `timeout` seconds."""
        started = trio.current_time()
        # The result when the deadline cancels the block below.
        outcome, output = Outcome.TIMEOUT, f"no answer within {timeout:g} s"
        with trio.move_on_after(timeout):
            outcome, output = await self._probe(url)
        return ProbeResult(outcome, output, started, trio.current_time())

    def remember(self, url: str) -> None:
        """Keep state of `url`, for an instance that is probed regularly, until `forget` is called as often."""
        self._users[url] = self._users.get(url, 0) + 1

    def forget(self, url: str) -> None:
        """Drop all state of `url` and close its idle connection, unless another instance has the same URL."""
        users = self._users.pop(url, 0) - 1
        if users > 0:
            self._users[url] = users
            return
        self._parsed.pop(url, None)
        stream = self._idle.pop(url, None)
        if stream is not None:
            _close(stream)

    async def _probe(self, url: str) -> tuple[Outcome, str]:
        try:
            parts = self._parsed.get(url) or urlsplit(url)
            if self.max_idle and url in self._users:
                self._parsed[url] = parts
            if parts.scheme == "tcp":
                stream = await self._connect(parts, 0)
                _close(stream)
                return Outcome.PASS, "connected"
            return await self._probe_http(url, parts)
        except RefusedTarget as error:
            return Outcome.FAIL, str(error)
        except (OSError, ValueError, trio.BrokenResourceError, EOFError) as error:
            is_short = isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES
            outcome = Outcome.UNKNOWN if is_short else Outcome.FAIL
            return outcome, _explain(error)

    async def _probe_http(self, url: str, parts: SplitResult) -> tuple[Outcome, str]:
        request = _request(parts, keep_alive=self.max_idle > 0)
        idle = self._idle.pop(url, None)
        if idle is not None:
            try:
                return await self._exchange(url, idle, request)
            except (OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # a server may close an idle connection: it is no failure, so probe again on a new one
        is_https = parts.scheme == "https"
        stream: trio.abc.Stream = await self._connect(parts, 443 if is_https else 80)
        if is_https:
            name = _host(parts).partition("%")[0]
            stream = trio.SSLStream(stream, self._tls_context(), server_hostname=name, https_compatible=True)
        return await self._exchange(url, stream, request)

    async def _connect(self, parts: SplitResult, default_port: int) -> trio.SocketStream:
        """Connect to the host of a URL, at an address that is not refused. Raises OSError and RefusedTarget."""
        host, port = _host(parts), parts.port or default_port
        if family := _family(host):
            found: Sequence[SocketAddress] = [(family, (host, port))]
        else:
            resolved = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [(family, address) for family, _, _, _, address in resolved]
        reasons = [self._refusal(address[0].partition("%")[0]) for _, address in found]
        allowed = [target for target, reason in zip(found, reasons, strict=True) if not reason]
        if not allowed:
            address = found[0][1][0]
            shown = address if address == host else f"{host[:80]} is {address}"
            raise RefusedTarget(f"not probed: {shown}, {reasons[0]}")
        if len(allowed) == 1:
            return await _connect_ip(*allowed[0])
        return await _connect_first(allowed)

    async def _exchange(self, url: str, stream: trio.abc.Stream, request: bytes) -> tuple[Outcome, str]:
        """Send the request and read the response; return the outcome and its text. Then keep the connection or close it."""
        response = HttpResponse()
        keep = False
        try:
            await stream.send_all(request)
            while not response.complete:
                data = bytes(await stream.receive_some(response.room))
                response.feed(data)
            # Two instances may have one URL: another probe may have left a connection for it meanwhile. The instance may be
            # forgotten by now: nothing would ever close a connection that is kept for it.
            is_wanted = url in self._users and url not in self._idle
            keep = response.reusable and is_wanted and len(self._idle) < self.max_idle
        finally:
            if not keep:
                _close(stream)
        if keep:
            self._idle[url] = stream
        return (Outcome.PASS if 200 <= response.status <= 299 else Outcome.FAIL), response.output

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        return self._tls


def _family(host: str) -> socket.AddressFamily | None:
    """Return the family of an IP address without a zone; None for anything else."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return None
    return family


async def _connect_first(targets: Sequence[SocketAddress]) -> trio.SocketStream:
    """Connect to the first of the addresses that answers. Raises OSError, the one of the first address, where none does."""
    # Not `open_tcp_stream`: it would resolve the name once more, to other addresses than those that were allowed.
    connected: list[trio.SocketStream] = []
    errors: dict[int, OSError] = {}

    async def attempt(number: int, failed: trio.Event) -> None:
        try:
            connected.append(await _connect_ip(*targets[number]))
        except OSError as error:
            errors[number] = error
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for number in range(len(targets)):
                failed = trio.Event()
                nursery.start_soon(attempt, number, failed)
                with trio.move_on_after(NEXT_ADDRESS_S):
                    await failed.wait()
    except BaseException:
        for stream in connected:
            _close(stream)
        raise
    if not connected:
        raise errors[0]
    for stream in connected[1:]:
        _close(stream)
    return connected[0]


async def _connect_ip(family: socket.AddressFamily, address: Any) -> trio.SocketStream:
    """Connect to an IP address. Raises OSError."""
    # `open_tcp_stream` costs 50 µs more, a tenth of a registration: it asks the resolver and opens a nursery.
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def _host(parts: SplitResult) -> str:
    """Return the host of a URL; an IPv6 zone, which a URL writes as `%25eth0` (RFC 6874), as `%eth0`."""
    return (parts.hostname or "").replace("%25", "%", 1)


def _close(stream: trio.abc.Stream) -> None:
    """Close the socket at once, without TLS close_notify: `aclose` would wait, past the probe's deadline."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(transport, trio.SocketStream):
        transport.socket.close()


def _request(parts: SplitResult, *, keep_alive: bool) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # Without the zone, which has a meaning on this machine only (RFC 6874, section 1).
    host = re.sub(r"%[^\]]*", "", parts.netloc.rpartition("@")[2])
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: minikube-probe",
        "Accept: */*",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def _explain(error: BaseException) -> str:
    """Return the reason of a failed probe in a few words: `connection refused`."""
    if isinstance(error, EOFError):
        return "the connection was closed before an answer"
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ECONNREFUSED:
            return "connection refused"
        return os.strerror(error.errno) if error.errno > 0 else str(error)
    return str(error) or type(error).__name__
