"""What the SDK says of the other end of a connection."""

import json
import socket
import ssl

import pytest

from minikube.errors import RemoteError, Unavailable
from minikube.jsonrpc.calls import ConnectionLost
from minikube.sdk.peer import NEEDS_CERTIFICATE, RegistryProtocol, connect_problem, tls_loss, version_problem
from minikube.sdk.session import NotARegistry

GREETINGS = [
    (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "it is an HTTP server ('HTTP/1.1 400 Bad Request')"),
    (b"-ERR unknown command '{\"jsonrpc\"'\r\n", "it is a Redis server ('-ERR unknown command"),
    (b"-NOAUTH Authentication required.\r\n", "it is a Redis server"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "it is an SSH server"),
    (b"\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS — set MINIKUBE_REGISTRY_CA to the PEM file of its CA"),
    (b"220 mail.example\r\n", "it sends '220 mail.example'"),
    (b"J\x00\x00\x00\x0a8.0.36\x00\x1b[2J", r"it sends 'J\\x00\\x00\\x00'"),
    (b"{nonsense}\n", "it sends '{nonsense}'"),
]


def feed(protocol: RegistryProtocol, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        protocol.feed(data[start : start + step])


@pytest.mark.parametrize(("data", "words"), GREETINGS)
@pytest.mark.parametrize("step", [1_000, 1])
def test_a_peer_that_is_no_registry_is_named(data: bytes, words: str, step: int) -> None:
    """Whole and byte by byte."""
    protocol = RegistryProtocol("r:1")
    with pytest.raises(NotARegistry, match=r"^r:1 is not a registry: "):
        feed(protocol, data, step)
    if step > 1:
        assert words.replace("\\\\", "\\") in str(protocol.lost_error("lost"))


def reply(number: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": True}).encode() + b"\n"


def test_a_registry_is_one_from_its_first_message_on() -> None:
    protocol = RegistryProtocol("r:1")
    assert protocol.feed(b"\n" + reply(1)[:5]) == []
    assert [message.id for message in protocol.feed(reply(1)[5:])] == [1]
    assert [message.id for message in protocol.feed(reply(2))] == [2]
    assert str(protocol.lost_error("lost")) == "lost"
    with pytest.raises(ConnectionLost, match="does not speak JSON-RPC"):
        protocol.feed(b"HTTP/1.1 400\n")


def test_a_peer_that_closes_without_an_answer_may_speak_tls() -> None:
    error = RegistryProtocol("r:1").lost_error("the connection was lost")
    assert isinstance(error, ConnectionLost)
    assert "r:1: it closed the connection without an answer" in str(error)
    assert "If it speaks TLS, set MINIKUBE_REGISTRY_CA" in str(error)


def test_a_peer_that_closes_without_an_answer_under_tls_may_want_a_certificate() -> None:
    error = RegistryProtocol("r:1", tls=True).lost_error("the connection was lost")
    assert "if it asks for a client certificate, set MINIKUBE_REGISTRY_CERT" in str(error)
    assert "MINIKUBE_REGISTRY_CA" not in str(error)


def test_a_connection_that_tls_ends_may_come_back_but_a_missing_certificate_does_not() -> None:
    assert type(tls_loss("r:1", tls_error("UNEXPECTED_EOF_WHILE_READING"))) is ConnectionLost
    missing = tls_loss("r:1", tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert isinstance(missing, NotARegistry)
    assert str(missing) == f"r:1: {NEEDS_CERTIFICATE}"


def test_a_registry_that_refuses_a_connection_is_quoted() -> None:
    protocol = RegistryProtocol("r:1")
    protocol.feed(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"too many connections"}}\n')
    error = protocol.lost_error("lost")
    assert (type(error), str(error)) == (Unavailable, "too many connections")


def tls_error(reason: str, text: str = "") -> ssl.SSLError:
    error = ssl.SSLError(1, text or f"[SSL: {reason}]")
    error.reason = reason
    return error


def unverified(message: str) -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.reason, error.verify_message = "CERTIFICATE_VERIFY_FAILED", message
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "cannot connect to r:1: Connection refused"),
        (TimeoutError(), "cannot connect to r:1: no answer within 5.0 s"),
        (socket.gaierror(-2, "Name or service not known"), "the host's name cannot be resolved (Name or service"),
        (tls_error("WRONG_VERSION_NUMBER"), "it does not speak TLS — unset MINIKUBE_REGISTRY_CA"),
        (unverified("self-signed certificate"), "its certificate is not accepted: self-signed certificate — MINIKUBE"),
        (
            tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "it asks for a client certificate — set MINIKUBE_REGISTRY_CERT",
        ),
        (tls_error("UNEXPECTED_EOF_WHILE_READING"), "it ended the TLS handshake"),
        (tls_error("TLSV1_ALERT_PROTOCOL_VERSION"), "TLS: tlsv1 alert protocol version"),
    ],
)
def test_a_connection_that_fails_says_why(cause: Exception, words: str) -> None:
    problem = connect_problem("r:1", cause, 5.0)
    assert words in str(problem)
    assert problem.__cause__ is cause
    is_hopeless = isinstance(cause, ssl.SSLError) and "EOF" not in str(cause)
    assert isinstance(problem, NotARegistry) == is_hopeless


@pytest.mark.parametrize(
    ("code", "message", "what"),
    [
        (-32601, "unknown method 'Discovery.Wait'", "does not know Discovery.Wait"),
        (-32602, "invalid params: expected at most 3 (Id, State, Output), got 4", "a param of Discovery.Wait"),
        (-32602, "invalid params: unknown name 'incarnation', expected Id", "a param of Discovery.Wait"),
        (-32602, "invalid params: unknown field 'Weight', expected Name", "a param of Discovery.Wait"),
    ],
)
def test_a_registry_that_lacks_something_is_called_older(code: int, message: str, what: str) -> None:
    error = version_problem(RemoteError(code, message), "Discovery.Wait", "r:1")
    assert error.code == code
    assert str(error).startswith("the registry at r:1 is older than this SDK and does not know")
    assert what in str(error)
    assert message in str(error)


def test_other_errors_are_left_as_they_are() -> None:
    for error in (
        RemoteError(-32602, "invalid params: Name: expected a DNS label"),
        RemoteError(-32001, "unauthorized"),
    ):
        assert version_problem(error, "Discovery.Get", "r:1") is error
