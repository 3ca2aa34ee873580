"""What is wrong with the other end of a connection: another protocol, TLS on one side only, another version.

No I/O, except `explain_silence`.
"""

import logging
import os
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from minikube.defaults import CA_ENV, CERT_ENV, KEY_ENV, TOKEN_ENV
from minikube.errors import RemoteError, Unavailable
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost
from minikube.jsonrpc.messages import INVALID_PARAMS, METHOD_NOT_FOUND, UNAUTHORIZED, ServerMessage
from minikube.sdk.session import Endpoints, NoAnswer, NotARegistry, RegistryAddress

LOGGER = logging.getLogger("minikube")

SPEAKS_TLS: Final = f"it speaks TLS — set {CA_ENV} to the PEM file of its CA"
NO_TLS: Final = f"it does not speak TLS — unset {CA_ENV}, or give the registry a certificate"
NEEDS_CERTIFICATE: Final = f"it asks for a client certificate — set {CERT_ENV} and {KEY_ENV}"
NO_ANSWER: Final = f"it closed the connection without an answer — is it a registry? If it speaks TLS, set {CA_ENV}"
NO_ANSWER_TLS: Final = (
    f"it closed the connection without an answer — if it asks for a client certificate, set {CERT_ENV} and {KEY_ENV}"
)

_TLS_RECORDS: Final = (b"\x15\x03", b"\x16\x03")
"""An alert or a handshake record of TLS."""
_GREETING_BYTES: Final = 60

PROBE_TIMEOUT_S: Final = 0.5
"""For the connection, and again for the first bytes: a call that failed takes at most 1 s longer."""


class RegistryProtocol(ClientProtocol):
    """A `ClientProtocol` that says what the peer is when its first bytes are no JSON-RPC."""

    def __init__(self, where: str, on_known: Callable[[], None] = lambda: None, *, tls: bool = False) -> None:
        """`on_known` is called when the peer has sent its first message and so is a registry; `tls`: whether TLS is on."""
        super().__init__()
        self._where = where
        self._on_known = on_known
        self._no_answer = NO_ANSWER_TLS if tls else NO_ANSWER
        self._is_known = False
        """Whether the peer has sent a JSON-RPC message: it is a registry."""
        self._greeting = b""
        self._problem = ""

    def feed(self, data: bytes) -> list[ServerMessage]:
        """Return the messages that `data` completes, as `ClientProtocol.feed` does."""
        self._greeting = (self._greeting + data)[:_GREETING_BYTES]
        start = self._greeting.lstrip()
        try:
            # An alert of TLS has no line end: it must not be waited for.
            messages = super().feed(data) if start[:1] in b"{[" else None
        except ConnectionLost:
            messages = None
        if messages is None:
            self._problem = f"{self._where} is not a registry: {describe_greeting(start)}"
            raise NotARegistry(self._problem)
        if messages:
            self._is_known = True
            self._on_known()
            self.feed = super().feed  # type: ignore[method-assign]  # from now on without a detour
        return messages

    def lost_error(self, text: str) -> Unavailable:
        """Return the error of a call that gets no reply, as `ClientProtocol.lost_error` does."""
        if self._problem:
            return NotARegistry(self._problem)
        error = super().lost_error(text)
        if self._is_known or not isinstance(error, ConnectionLost):
            return error
        return NoAnswer(f"{text} ({self._where}: {self._no_answer})")


def describe_greeting(data: bytes) -> str:
    """Return what the first bytes of a peer say about it."""
    if data.startswith(_TLS_RECORDS):
        return SPEAKS_TLS
    first_line = data.splitlines()[0] if data else b""
    shown = repr(first_line.decode("latin-1"))
    if data.startswith(b"HTTP/"):
        return f"it is an HTTP server ({shown})"
    if data.startswith((b"-ERR", b"-NOAUTH", b"-DENIED", b"-LOADING", b"+PONG")):
        return f"it is a Redis server ({shown})"
    if data.startswith(b"SSH-"):
        return f"it is an SSH server ({shown})"
    return f"it sends {shown}"


def explain_silence(error: Unavailable, endpoints: Endpoints) -> Unavailable:
    """Return the error to raise for a call that failed with `error`: one that says so if the peer is an HTTP server."""
    # A server of HTTP waits for the rest of the headers: it takes a call for their first line.
    # This blocks for a moment: in trio and asyncio it runs in a thread.
    address = endpoints.current
    try:
        with socket.create_connection((address.host, address.port), timeout=PROBE_TIMEOUT_S) as probe:
            probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            greeting = probe.recv(256)
    except OSError:
        return error
    if not greeting.startswith(b"HTTP/"):
        return error
    return Unavailable(f"{address} is not a registry: {describe_greeting(greeting)}")


def may_explain(endpoints: Endpoints) -> bool:
    """Return whether `explain_silence` may find something: a registry that has answered before is none of another kind."""
    return not (endpoints.answered or endpoints.several or endpoints.current.ca)


def connect_problem(where: str, cause: BaseException, seconds: float) -> ConnectionLost:
    """Return the error for a connection that could not be opened; `cause` is what connect(2), the resolver or TLS raised."""
    # A handshake that ends may be that of a registry that is being stopped.
    kind = NotARegistry if is_tls_error(cause) and not _is_eof(cause) else ConnectionLost
    problem = kind(f"cannot connect to {where}: {_connect_reason(cause, seconds)}")
    problem.__cause__ = cause
    return problem


def _connect_reason(cause: BaseException, seconds: float) -> str:
    if isinstance(cause, TimeoutError) or type(cause).__name__ == "TooSlowError":
        return f"no answer within {seconds:.1f} s"
    if isinstance(cause, socket.gaierror):
        return f"the host's name cannot be resolved ({cause.strerror})"
    if is_tls_error(cause):
        return tls_problem(cause)
    number = getattr(cause, "errno", None)
    # Not strerror: trio's repeats the address.
    return os.strerror(number) if number and number > 0 else str(cause) or type(cause).__name__


def is_tls_error(error: BaseException) -> bool:
    """Return whether it is an `ssl.SSLError`."""
    # By its name: importing ssl costs a program without TLS 10 ms.
    return any(kind.__module__ == "ssl" for kind in type(error).__mro__)


def tls_loss(where: str, error: Exception) -> ConnectionLost:
    """Return the error for a connection that TLS has ended after the handshake."""
    return (ConnectionLost if _is_eof(error) else NotARegistry)(f"{where}: {tls_problem(error)}")


def _is_eof(error: Any) -> bool:
    return "EOF" in f"{getattr(error, 'reason', '')} {error}"


def tls_problem(error: Any) -> str:
    """Return what an `ssl.SSLError` means for the settings of the client."""
    reason = str(getattr(error, "reason", "") or "")
    if message := getattr(error, "verify_message", ""):
        return f"its certificate is not accepted: {message} — {CA_ENV} must be the CA of this registry"
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason or "BAD_CERTIFICATE" in reason:
        return NEEDS_CERTIFICATE
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return NO_TLS
    if _is_eof(error):
        return f"it ended the TLS handshake — if it does not speak TLS, unset {CA_ENV}"
    return f"TLS: {reason.replace('_', ' ').lower() or error}"


def may_omit_token(address: RegistryAddress, error: RemoteError | Unavailable) -> bool:
    """Return whether to go on without the token after the reply to `Discovery.Authenticate`.

    `Unavailable`: the registry cannot ask its store for the token, and answers lookups from memory meanwhile.
    """
    if isinstance(error, Unavailable):
        return address.is_token_optional and not isinstance(error, ConnectionLost)
    return address.is_token_optional and error.code == UNAUTHORIZED


@lru_cache(256)
def log_omitted_token(where: str) -> None:
    """Log, once for each registry of this process, that it is used without the token of the environment."""
    # Once: programs that look up with `discover` connect for each lookup.
    LOGGER.warning("the registry at %s does not know the token in %s; it is used without a token", where, TOKEN_ENV)


def version_problem(error: RemoteError, method: str, where: str) -> RemoteError:
    """Return the error to raise for a registry's error: one that says so when the registry lacks a method or a param."""
    lacks_param = error.code == INVALID_PARAMS and any(
        text in error.message for text in ("expected at most", "unknown name", "unknown field")
    )
    if error.code != METHOD_NOT_FOUND and not lacks_param:
        return error
    what = f"a param of {method}" if lacks_param else method
    return RemoteError(
        error.code,
        f"the registry at {where} is older than this SDK and does not know {what} — update it ({error.message})",
    )
