"""The caller's half of a conversation: numbers, answers, and errors as the project's own."""

import pytest
from msgspec import Raw

from minikube.errors import NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, decode_as, error_of, result_of
from minikube.jsonrpc.lines import MAX_LINE_BYTES
from minikube.jsonrpc.messages import decode_reply


def test_calls_are_numbered_and_answers_found_in_any_splitting() -> None:
    calls = ClientProtocol()
    assert [calls.encode("a")[0], calls.encode("b", ["x"])[0]] == [1, 2]
    data = b'{"jsonrpc":"2.0","id":2,"result":5}\r\n\n{"jsonrpc":"2.0","id":1,"result":4}\n'
    arrived = [incoming for byte in data for incoming in calls.feed(bytes([byte]))]
    assert [(incoming.id, result_of(incoming, int)) for incoming in arrived] == [(2, 5), (1, 4)]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\n", b"x" * 11])
def test_a_server_that_speaks_something_else_is_a_lost_connection(data: bytes) -> None:
    with pytest.raises(ConnectionLost, match="does not speak JSON-RPC"):
        ClientProtocol(max_line=10).feed(data)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"id":1,"error":{"code":-32004,"message":"no"}}', NotFound),
        (b'{"id":1,"error":{"code":-32010,"message":"no"}}', Unavailable),
        (b'{"id":1,"error":{"code":-32601,"message":"no"}}', RemoteError),
        (b'{"id":1,"error":"no","result":null}', RemoteError),
        (b'{"id":1}', RemoteError),
    ],
)
def test_errors_become_the_projects_own(line: bytes, kind: type[Exception]) -> None:
    assert isinstance(error_of(decode_reply(line)), kind)
    with pytest.raises(kind):
        result_of(decode_reply(line), int)


def test_a_result_of_another_shape_is_the_servers_fault() -> None:
    with pytest.raises(RemoteError, match="another shape"):
        decode_as(Raw(b'"x"'), int)


def test_a_stale_answer_is_remembered_until_a_fresh_one() -> None:
    calls = ClientProtocol()
    calls.feed(b'{"id":1,"result":1,"error":null,"stale":true}\n{"method":"x","params":[]}\n')
    assert calls.stale
    calls.feed(b'{"id":2,"result":1,"error":null}\n')
    assert not calls.stale


def test_a_call_is_as_long_as_the_server_takes_or_not_sent() -> None:
    around = len(ClientProtocol().encode("m", [""])[1]) - 1
    assert len(ClientProtocol().encode("m", ["x" * (MAX_LINE_BYTES - around)])[1]) == MAX_LINE_BYTES + len("\n")
    with pytest.raises(UsageError, match="m: the call is 65,537 bytes, at most 65,536 are taken"):
        ClientProtocol().encode("m", ["x" * (MAX_LINE_BYTES - around + 1)])


def test_an_error_without_an_id_is_why_the_connection_ends() -> None:
    calls = ClientProtocol()
    calls.feed(b'{"id":1,"error":"about that call","result":null}\n{"method":"x","params":[]}\n')
    assert not calls.refused
    assert isinstance(calls.lost_error("it was lost"), ConnectionLost)
    calls.feed(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"too many connections"}}\n')
    assert calls.refused
    why = calls.lost_error("it was lost")
    assert type(why) is Unavailable, "not ConnectionLost: to connect again at once is of no use"
    assert str(why) == "too many connections"
