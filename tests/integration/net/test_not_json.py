"""Input that is not JSON-RPC: an HTTP request or a TLS hello gets one error, and nothing of it is executed."""

from typing import Any

import pytest
import trio

from minikube.net.rpc.interface import RpcConnection
from minikube.net.rpc.limits import RpcLimits
from tests.eventually import soon
from tests.integration.net.rpc_server import Raw, SampleService, call_line, raw, serving

BODY = (call_line("open", 1, "executed") + "\n").encode()
"""A call that a web page may put into a body."""

POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:5555\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\n\r\n"
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 506
"""A client's first message of TLS 1.3, without the byte of a line end."""

STRANGERS = {
    "a POST": POST + BODY,
    "a POST with a blank line first": b"\r\n" + POST + b"\n" + BODY,
    "a POST with the body before a line end": POST + b"\n" * 50 + BODY * 50,
    "a GET": b"GET / HTTP/1.1\r\n\r\n" + BODY,
    "a PUT of HTTP/1.0": b"PUT / HTTP/1.0\n\n" + BODY,
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + BODY,
    "a TLS hello": TLS_HELLO + b"\n" + BODY,
    "a word": b"hello\n" + BODY,
    "broken JSON": b'{"method":"open",\n' + BODY,
    "two values in a line": b"{} {}\n" + BODY,
    "bytes that are no UTF-8": b'{"method":"\xff"}\n' + BODY,
    "a byte order mark": b"\xef\xbb\xbf" + BODY + BODY,
}


async def answers(client: Raw) -> list[Any]:
    """Return all lines that the server sends until it closes."""
    lines = []
    try:
        while True:
            lines.append(await client.line())
    except EOFError:
        return lines


@pytest.mark.parametrize("by_byte", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("sent", STRANGERS.values(), ids=STRANGERS.keys())
async def test_what_follows_a_line_that_is_not_json_is_not_executed(sent: bytes, by_byte: bool) -> None:
    service = SampleService()
    async with serving(service) as address, raw(address) as client:
        await client.send(call_line("ready", 7))
        try:
            for piece in [sent[i : i + 1] for i in range(len(sent))] if by_byte else [sent]:
                await client.stream.send_all(piece)
        except trio.BrokenResourceError:
            assert by_byte  # the server has closed the connection before the rest came
        reply, error = await answers(client)
        assert reply["result"] == "ready"
        assert (error["id"], error["error"]["code"]) == (None, -32700)
        await trio.sleep(0.05)
        assert not service.gates


async def test_a_tls_hello_is_answered_at_once() -> None:
    """It may have no line end, so the server does not wait for one."""
    async with serving(SampleService(), limits=RpcLimits(first_line_s=60)) as address, raw(address) as client:
        await client.stream.send_all(TLS_HELLO)
        with trio.fail_after(10):
            (error,) = await answers(client)
        assert "this is not JSON" in error["error"]["message"]


async def test_calls_that_came_before_the_wrong_line_are_answered() -> None:
    service = SampleService()
    async with serving(service) as address, raw(address) as client:
        batch = f"[{call_line('wait', 2, 'g')},{call_line('ready', 3)}]"
        await client.send(
            call_line("wait", 1, "g"), batch, call_line("ready", 4), "GET / HTTP/1.1", call_line("open", 5, "x")
        )
        await soon(lambda: service.running == 2)
        service.gate("g").set()
        lines = await answers(client)
        assert "x" not in service.gates
        (replies,) = [line for line in lines if isinstance(line, list)]
        assert [reply["id"] for reply in replies] == [2, 3]
        others = [line for line in lines if isinstance(line, dict)]
        assert sorted(str(line["id"]) for line in others) == ["1", "4", "None"]


async def test_a_wrong_line_among_postponed_calls_ends_the_connection_there() -> None:
    """A full connection handles its lines later: the order is kept."""
    service = SampleService()
    async with serving(service, limits=RpcLimits(in_flight=2)) as address, raw(address) as client:
        calls = [call_line("wait", number, "g") for number in range(5)]
        await client.send(*calls, "POST / HTTP/1.1", call_line("open", 9, "x"))
        await soon(lambda: service.running == 2)
        service.gate("g").set()
        lines = await answers(client)
        assert sorted(str(line["id"]) for line in lines) == ["0", "1", "2", "3", "4", "None"]
        assert "x" not in service.gates


async def test_a_fast_path_never_sees_what_follows_a_wrong_line() -> None:
    seen: list[bytes] = []

    class Fast(SampleService):
        def try_fast(self, data: bytes, connection: RpcConnection) -> bytes | None:
            seen.append(data)
            return None

    async with serving(Fast(), limits=RpcLimits(linger_s=60)) as address, raw(address) as client:
        await client.send("POST / HTTP/1.1")
        await client.line()
        await client.stream.send_all(BODY)
        await trio.sleep(0.05)
        assert seen == [b"POST / HTTP/1.1\n"]


# ---------------------------------------------------------------- the last line


@pytest.mark.parametrize("end", [b"", b"\r"])
@pytest.mark.parametrize("first", [b"", (call_line("ready", 1) + "\n").encode()])
async def test_a_last_line_without_its_end_is_executed_and_answered(first: bytes, end: bytes) -> None:
    """So `printf '{…}' | nc -N` works as `echo '{…}' | nc -N` does."""
    async with serving(SampleService()) as address, raw(address) as client:
        await client.stream.send_all(first + call_line("echo", 2, "a").encode() + end)
        await client.stream.send_eof()
        lines = await answers(client)
        assert lines[-1] == {"jsonrpc": "2.0", "id": 2, "result": ["a"]}
        assert len(lines) == 1 + bool(first)


async def test_a_last_line_is_executed_although_the_client_has_closed() -> None:
    service = SampleService()
    async with serving(service) as address:
        async with raw(address) as client:
            await client.stream.send_all(call_line("open", 1, "g").encode())
        await soon(lambda: service.gate("g").is_set())


async def test_a_last_line_that_was_cut_off_is_an_error() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.stream.send_all(call_line("ready", 1).encode()[:-5])
        await client.stream.send_eof()
        (error,) = await answers(client)
        assert error["error"]["code"] == -32700


@pytest.mark.parametrize("blank", [b"\n", b" \t\n", b"\r\n", b" \r\n"])
async def test_a_line_of_white_space_is_skipped(blank: bytes) -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.stream.send_all(blank + (call_line("ready", 1) + "\n").encode() + blank + b"  ")
        await client.stream.send_eof()
        assert [line["id"] for line in await answers(client)] == [1]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("cut", [b'{"method":"ready","id', b'[{"method":"ready"}', b'{"method":"re'])
async def test_a_cut_line_gets_a_parse_error_in_plain_words(cut: bytes, end: bytes) -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.stream.send_all(cut + end)
        await client.stream.send_eof()
        (line,) = await answers(client)
        assert line["error"]["message"] == "parse error: the line ends inside its JSON value; the connection is closed"
