"""The client's side of JSON-RPC: ids, replies, and errors as those of the project."""

import pytest
from msgspec import Raw

from minikube.errors import NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc.calls import ClientProtocol, ConnectionLost, decode_as, error_of, result_of
from minikube.jsonrpc.lines import MAX_LINE_BYTES
from minikube.jsonrpc.messages import decode_reply


def test_calls_are_numbered_and_replies_are_decoded_from_any_pieces() -> None:
    calls = ClientProtocol()
    assert [calls.encode("a")[0], calls.encode("b", ["x"])[0]] == [1, 2]
    data = b'{"jsonrpc":"2.0","id":2,"result":5}\r\n\n{"jsonrpc":"2.0","id":1,"result":4}\n'
    arrived = [incoming for byte in data for incoming in calls.feed(bytes([byte]))]
    assert [(incoming.id, result_of(incoming, int)) for incoming in arrived] == [(2, 5), (1, 4)]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\n", b"x" * 11])
def test_input_that_is_not_json_rpc_is_a_lost_connection(data: bytes) -> None:
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
def test_error_replies_become_errors_of_the_project(line: bytes, kind: type[Exception]) -> None:
    assert isinstance(error_of(decode_reply(line)), kind)
    with pytest.raises(kind):
        result_of(decode_reply(line), int)


def test_a_result_of_an_unexpected_type_is_a_remote_error() -> None:
    with pytest.raises(RemoteError, match="unexpected type"):
        decode_as(Raw(b'"x"'), int)


def test_stale_is_true_from_a_stale_reply_until_the_next_fresh_one() -> None:
    calls = ClientProtocol()
    calls.feed(b'{"id":1,"result":1,"error":null,"stale":true}\n{"method":"x","params":[]}\n')
    assert calls.stale
    calls.feed(b'{"id":2,"result":1,"error":null}\n')
    assert not calls.stale


def test_a_call_longer_than_a_server_accepts_raises() -> None:
    around = len(ClientProtocol().encode("m", [""])[1]) - 1
    assert len(ClientProtocol().encode("m", ["x" * (MAX_LINE_BYTES - around)])[1]) == MAX_LINE_BYTES + len("\n")
    with pytest.raises(UsageError, match="m: the call is 65,537 bytes, at most 65,536 are taken"):
        ClientProtocol().encode("m", ["x" * (MAX_LINE_BYTES - around + 1)])


def test_an_error_without_an_id_is_the_reason_for_a_lost_connection() -> None:
    calls = ClientProtocol()
    calls.feed(b'{"id":1,"error":"about that call","result":null}\n{"method":"x","params":[]}\n')
    assert not calls.refused
    assert isinstance(calls.lost_error("it was lost"), ConnectionLost)
    calls.feed(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"too many connections"}}\n')
    assert calls.refused
    why = calls.lost_error("it was lost")
    assert type(why) is Unavailable, "not ConnectionLost: to connect again at once is of no use"
    assert str(why) == "too many connections"


def test_a_connection_that_was_closed_for_room_is_lost_and_may_be_opened_again() -> None:
    calls = ClientProtocol()
    calls.feed(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32028,"message":"closed to make room"}}\n')
    assert calls.refused
    why = calls.lost_error("it was lost")
    assert isinstance(why, ConnectionLost)
    assert str(why) == "closed to make room"
