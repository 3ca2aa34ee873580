"""Both dialects of JSON-RPC: strict decoding, replies that Go's client and JSON-RPC 2.0 clients understand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.messages import Batch, InvalidRequest, Request, decode_reply, decode_request

ids = st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
params = st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4)


def request(line: bytes) -> Request:
    message = decode_request(line)
    assert isinstance(message, Request)
    return message


def error(line: bytes) -> dict[str, Any]:
    message = decode_request(line)
    assert isinstance(message, InvalidRequest)
    assert message.error.endswith(b"\n")
    answer: dict[str, Any] = json.loads(message.error)
    return answer


# ---------------------------------------------------------------- requests


@given(texts, params, st.integers(0, 2**63))
def test_a_call_is_decoded_as_it_was_encoded(method: str, args: Any, id_: int) -> None:
    call = request(jsonrpc.encode_request(id_, method, args).rstrip(b"\n"))
    assert (call.method, call.params, call.id, call.dialect) == (method, args, id_, 2)
    assert not call.is_notification


@given(texts, params, st.integers(0, 2**63) | texts, st.sampled_from([1, 2]))
def test_a_request_is_decoded_in_its_dialect(method: str, args: Any, id_: Any, dialect: int) -> None:
    version = {} if dialect == 1 else {"jsonrpc": "2.0"}
    call = request(json.dumps({**version, "method": method, "params": args, "id": id_}).encode())
    assert (call.method, call.params, call.id, call.dialect) == (method, args, id_, dialect)
    assert not call.is_notification


def test_the_dialect_belongs_to_each_message() -> None:
    assert request(b'{"method":"a","params":[1],"id":1}').dialect == 1
    assert request(b'{"jsonrpc":"2.0","method":"a","id":1}').dialect == 2
    assert request(b'{"jsonrpc":"1.0","method":"a","id":1}').dialect == 1


def test_only_dialect_2_has_notifications() -> None:
    assert request(b'{"jsonrpc":"2.0","method":"a"}').is_notification
    assert not request(b'{"jsonrpc":"2.0","method":"a","id":null}').is_notification
    assert not request(b'{"method":"a"}').is_notification


def test_unknown_keys_are_ignored_but_must_be_utf8() -> None:
    assert request(b'{"method":"a","id":1,"more":[{}]}').method == "a"
    assert error(b'{"method":"a","id":1,"more":"\xff"}')["error"]["code"] == jsonrpc.PARSE_ERROR


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b'{"method":"a"',
        b'{"method":"a"} {"method":"b"}',
        b'{"method":"a","params":[NaN]}',
        b'{"method":"a","params":[Infinity]}',
        b'{"method":"a","params":[-Infinity]}',
        b'{"method":"a","params":["\\ud800"]}',
        b'{"method":"a","params":["\\udc00x"]}',
        b'{"method":"a","params":["\xed\xa0\x80"]}',
        b'{"method":"a","params":["\xc0\x80"]}',
        b"\xef\xbb\xbf{}",
        b'{"method":"a","id":1e999}',
        b'{"method":"a","params":["' + b"x" * 200 + b'\xff"]}',
    ],
)
def test_invalid_json_is_a_parse_error_without_an_id(line: bytes) -> None:
    answer = error(line)
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] is None
    assert answer["error"]["code"] == jsonrpc.PARSE_ERROR


@pytest.mark.parametrize("depth", [65, 900, 30_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth: int, pair: tuple[str, str]) -> None:
    deep = pair[0] * depth + "1" + pair[1] * depth
    answer = error(b'{"method":"a","params":[' + deep.encode() + b"]}")
    assert answer["error"]["code"] == jsonrpc.INVALID_REQUEST
    assert "nested deeper than 64" in answer["error"]["message"]


@pytest.mark.parametrize(("depth", "kind"), [(63, Request), (64, InvalidRequest)])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_limit_of_nesting_is_exact(depth: int, kind: type, pair: tuple[bytes, bytes]) -> None:
    """The request itself is the first of the 64 levels."""
    params = pair[0] * depth + (b"1" if pair[0] != b"[" else b"") + pair[1] * depth
    assert type(decode_request(b'{"method":"a","params":' + params + b',"id":1}')) is kind


def test_nesting_up_to_the_limit_is_accepted() -> None:
    deep = "[" * 62 + "1" + "]" * 62
    assert request(b'{"method":"a","params":[' + deep.encode() + b"]}").method == "a"


@pytest.mark.parametrize("line", [b"1", b'"a"', b"null", b"true", b"[]"])
def test_json_that_is_no_request_is_an_invalid_request(line: bytes) -> None:
    answer = error(line)
    assert (answer["id"], answer["error"]["code"]) == (None, jsonrpc.INVALID_REQUEST)


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        (b'{"jsonrpc":"2.0","method":1,"id":7}', 7),
        (b'{"jsonrpc":"2.0","id":"x"}', "x"),
        (b'{"jsonrpc":"2.0","method":"a","params":3,"id":7}', 7),
        (b'{"jsonrpc":"2.0","method":1}', None),
        (b'{"jsonrpc":"2.0","method":"a","id":true}', None),
        (b'{"jsonrpc":"2.0","method":"a","id":[1]}', None),
        (b'{"jsonrpc":"3.0","method":"a","id":7}', 7),
        (b'{"jsonrpc":2.0,"method":"a","id":{}}', None),
        (b'{"jsonrpc":null,"method":"a"}', None),
    ],
)
def test_an_invalid_request_of_dialect_2_gets_an_error_object_with_its_id(line: bytes, id_: Any) -> None:
    answer = error(line)
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] == id_
    assert answer["error"]["code"] == jsonrpc.INVALID_REQUEST


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        (b'{"method":1,"id":7}', 7),
        (b'{"id":[1,2]}', [1, 2]),
        (b'{"method":"a","params":"x","id":"s"}', "s"),
        (b"{}", None),
    ],
)
def test_an_invalid_request_of_dialect_1_gets_an_error_string(line: bytes, id_: Any) -> None:
    answer = error(line)
    assert answer["id"] == id_
    assert answer["result"] is None
    assert answer["error"].startswith("invalid request: ")
    assert "jsonrpc" not in answer


# ---------------------------------------------------------------- batches


def test_a_batch_keeps_valid_requests_and_has_errors_for_the_others() -> None:
    message = decode_request(
        b'[{"jsonrpc":"2.0","method":"a","id":1},1,{"method":"b","id":2},{"jsonrpc":"1.0","method":"b"},'
        b'{"jsonrpc":"2.0","method":"n"}]'
    )
    assert isinstance(message, Batch)
    assert [type(item) for item in message.items] == [Request, InvalidRequest, InvalidRequest, InvalidRequest, Request]


def test_a_batch_has_a_maximum_size() -> None:
    answer = error(b"[" + b",".join([b"1"] * 257) + b"]")
    assert "at most 256" in answer["error"]["message"]


def test_the_replies_of_a_batch_are_joined_to_one_line() -> None:
    lines = [b'{"id":1}\n', b'{"id":2}\n']
    assert jsonrpc.join_batch(lines) == b'[{"id":1},{"id":2}]\n'


# ---------------------------------------------------------------- answers


def test_replies_of_dialect_1_are_the_same_bytes_as_those_of_gos_server() -> None:
    call = request(b'{"method":"Discovery.Get","params":["product"],"id":1}')
    address = {"IP": "127.0.0.1", "Port": 7070, "Zone": ""}
    assert (
        jsonrpc.encode_reply(call, address)
        == b'{"id":1,"result":{"IP":"127.0.0.1","Port":7070,"Zone":""},"error":null}\n'
    )
    assert (
        jsonrpc.encode_error(call, -32004, "no such service") == b'{"id":1,"result":null,"error":"no such service"}\n'
    )


@pytest.mark.parametrize("id_", [b"0", b"18446744073709551615", b'"x"', b"1.5", b"null", b"true", b"[1]", b'{"a":"b"}'])
def test_dialect_1_repeats_any_id(id_: bytes) -> None:
    call = request(b'{"method":"a","id":' + id_ + b"}")
    assert jsonrpc.splice_reply(call, b"2") == b'{"id":' + id_ + b',"result":2,"error":null}\n'
    assert jsonrpc.encode_error(call, 1, "no").startswith(b'{"id":' + id_ + b",")


def test_a_dialect_1_request_without_an_id_gets_a_reply() -> None:
    assert jsonrpc.splice_reply(request(b'{"method":"a"}'), b"2") == b'{"id":null,"result":2,"error":null}\n'


def test_replies_of_dialect_2_have_the_version_and_an_error_object() -> None:
    call = request(b'{"jsonrpc":"2.0","method":"a","id":"x"}')
    assert jsonrpc.encode_reply(call, Raw(b"[1]")) == b'{"jsonrpc":"2.0","id":"x","result":[1]}\n'
    assert json.loads(jsonrpc.encode_error(call, -1, "no", {"a": 1})) == {
        "jsonrpc": "2.0",
        "id": "x",
        "error": {"code": -1, "message": "no", "data": {"a": 1}},
    }


def test_an_rpc_error_has_code_message_and_data() -> None:
    raised = jsonrpc.RpcError(-1, "no", [1])
    assert (raised.code, raised.message, raised.data, str(raised)) == (-1, "no", [1], "no")


# ---------------------------------------------------------------- the caller's side


@given(ids, values, st.sampled_from([1, 2]))
def test_a_reply_is_decoded_as_it_was_encoded(id_: Any, result: Any, dialect: int) -> None:
    call = Request("a", None, id_, UNSET if dialect == 1 else "2.0")
    answer = decode_reply(jsonrpc.encode_reply(call, result).rstrip(b"\n"))
    assert answer.id == id_
    assert json.loads(bytes(answer.result)) == result  # type: ignore[arg-type]
    assert answer.error is None
    assert not answer.is_notification


@given(texts, st.integers(-40_000, 40_000))
def test_an_error_is_decoded_in_either_dialect(message: str, code: int) -> None:
    two = decode_reply(jsonrpc.encode_error(Request("a", None, 1, "2.0"), code, message).rstrip(b"\n"))
    assert two.error == jsonrpc.ErrorObject(code, message)
    one = decode_reply(jsonrpc.encode_error(Request("a", None, 1), code, message).rstrip(b"\n"))
    assert one.error == message


@given(texts.filter(bool), params)
def test_a_notification_is_decoded_as_it_was_encoded(method: str, args: Any) -> None:
    notice = decode_reply(jsonrpc.encode_notification(method, args).rstrip(b"\n"))
    assert notice.is_notification
    assert (notice.method, json.loads(bytes(notice.params))) == (method, args)  # type: ignore[arg-type]


@pytest.mark.parametrize("line", [b"x", b"[]", b"{}", b'{"id":[1]}', b'{"id":1,"result":"\xff"}', b"[" * 30_000])
def test_a_line_that_is_no_reply_raises_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON-RPC answer"):
        decode_reply(line)


@given(st.binary(max_size=200))
def test_no_input_makes_decoding_raise(line: bytes) -> None:
    decode_request(line)


@given(values)
def test_no_json_makes_decoding_raise(value: Any) -> None:
    decode_request(json.dumps(value).encode())
