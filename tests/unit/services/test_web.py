"""The services' HTTP server: bounds, errors as JSON, keep-alive, draining."""

import errno
import socket

import pytest
import trio
import trio.testing

from services import web
from services.web import HttpError, Reply, Request, Routes
from tests.eventually import soon
from tests.shop import open_service


async def echo(request: Request) -> Reply:
    return 200, [request.id, request.body.decode()]


async def crash(_request: Request) -> Reply:
    raise ZeroDivisionError("a defect")


async def busy(_request: Request) -> Reply:
    raise HttpError(503, "later")


hanging: list[Request] = []


async def hang(request: Request) -> Reply:
    hanging.append(request)
    await trio.sleep_forever()
    raise AssertionError


ROUTES: Routes = {
    "/echo/{}": {"GET": echo, "HEAD": echo, "PUT": echo},
    "/list": {"GET": echo},
    "/crash": {"GET": crash},
    "/busy": {"GET": busy},
    "/hang": {"GET": hang},
}


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        for word in ("one", "two"):
            status, headers, body = await client.get(f"/echo/{word}?a=1")
            assert (status, body) == (200, [word, ""])
            assert headers["content-type"] == "application/json"
            assert "connection" not in headers
        assert len(shop.server.connections) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send("".join(f"GET /echo/{n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(20)))
        assert [(await client.answer())[2] for _ in range(20)] == [[str(n), ""] for n in range(20)]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("blank", ["\r\n", "\r\n\r\n\n"])
async def test_empty_lines_before_a_request_are_ignored(blank: str, together: bool) -> None:
    """RFC 9112 §2.2: old clients send one after a body."""
    parts = [blank, "PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", blank]
    parts.append("GET /echo/y HTTP/1.1\r\nHost: x\r\n\r\n")
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        for part in ["".join(parts)] if together else parts:
            await client.send(part)
            await trio.testing.wait_all_tasks_blocked()
        assert [(await client.answer())[2] for _ in range(2)] == [["x", "abc"], ["y", ""]]


async def test_a_request_may_come_byte_by_byte() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        for byte in b"PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
            await client.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await client.answer())[2] == ["x", "abc"]


async def test_a_chunked_body_is_read_whole() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        head = "PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert (await client.answer())[2] == ["x", "abcde"]


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send("PUT /echo/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert (await client.answer())[0] == 100
        await client.send("z")
        assert (await client.answer())[2] == ["x", "z"]


async def test_head_has_the_length_and_no_body() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send("HEAD /echo/x HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await client.answer("HEAD")
        assert (status, body) == (200, None)
        assert int(headers["content-length"]) > 0
        assert (await client.get("/list"))[0] == 200


async def test_an_error_after_head_has_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READ_S", 0.05)
    async with open_service(ROUTES) as shop:
        for late, status in (("nonsense\r\n\r\n", 400), ("GET /li", 408)):
            client = await shop.client()
            await client.send("HEAD /echo/x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer("HEAD")).status == 200
            await client.send(late)
            answer = await client.answer()
            assert (answer.status, type(answer.body)) == (status, dict)


async def test_a_service_without_free_descriptors_accepts_again_when_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept = trio.SocketListener.accept
    failed: list[int] = []

    async def fail_once(self: trio.SocketListener) -> trio.SocketStream:
        if not failed:
            failed.append(errno.EMFILE)
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(self)

    monkeypatch.setattr(trio.SocketListener, "accept", fail_once)
    async with open_service(ROUTES) as shop:
        assert (await (await shop.client()).get("/list")).status == 200
        assert failed == [errno.EMFILE]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /echo/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /echo/a/b HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("DELETE /list HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET /list HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\nHost: x\r\nContent-Length: " + "9" * 5000 + "\r\n\r\n", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("GET /list HTTP/1.1\r\nHost: x\r\n folded: y\r\nX: a\0b\r\n\r\n", 400),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        ("PUT /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n" + "x" * 0x11000, 413),
        ("GET /list HTTP/1.1\r\nHost: x\r\nX: " + "y" * 70_000, 431),
        ("GET /crash HTTP/1.1\r\nHost: x\r\n\r\n", 500),
        ("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n", 503),
    ],
)
async def test_every_error_is_json_with_its_status(request_text: str, status: int) -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send(request_text)
        got, headers, body = await client.answer()
        assert got == status
        assert isinstance(body, dict)
        assert set(body) == {"error"}
        assert body["error"].isprintable()
        assert ("allow" in headers) == (status == 405)
        assert headers.get("retry-after") == ("1" if status == 503 else None)
        assert (await (await shop.client()).get("/list"))[0] == 200, "others notice nothing"


async def test_an_error_reaches_a_client_that_is_still_sending() -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send(f"PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: {8 << 20}\r\n\r\n")
        await client.send(b"x" * (8 << 20))
        assert (await client.answer()).status == 413


async def test_a_defect_is_logged_and_costs_one_answer_only(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        assert "ZeroDivisionError" not in str((await client.get("/crash")).body)
        assert "ZeroDivisionError: a defect" in capsys.readouterr().out
        assert (await client.get("/list")).status == 200


async def test_a_slow_request_gets_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READ_S", 0.05)
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send("GET /li")
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert await client.ended()


async def test_an_idle_connection_is_closed_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "IDLE_S", 0.05)
    async with open_service(ROUTES) as shop:
        assert await (await shop.client()).ended()


async def test_a_slow_body_gets_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READ_S", 0.05)
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        await client.send("PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        assert (await client.answer()).status == 408


async def test_a_handler_that_hangs_gets_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HANDLE_S", 0.05)
    async with open_service(ROUTES) as shop:
        assert (await (await shop.client()).get("/hang")).status == 504


async def test_a_client_that_stops_reading_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WRITE_S", 0.05)
    monkeypatch.setattr(web, "BODY_BYTES", 4 << 20)
    async with open_service(ROUTES) as shop:
        client = await shop.client()
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"PUT /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: {4 << 20}\r\n\r\n"
        await client.send(head.encode() + b"x" * (4 << 20))
        await soon(lambda: not shop.server.connections)


async def test_one_connection_too_many_gets_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CONNECTIONS_MAX", 2)
    async with open_service(ROUTES) as shop:
        kept = [await shop.client() for _ in range(2)]
        for client in kept:
            assert (await client.get("/list")).status == 200
        answer = await (await shop.client()).answer()
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        assert (await kept[0].get("/list")).status == 200


async def test_a_stop_closes_idle_connections_and_finishes_requests_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HANDLE_S", 0.2)
    async with open_service(ROUTES) as shop:
        hanging.clear()
        idle, working = await shop.client(), await shop.client()
        assert (await idle.get("/list")).status == 200
        await working.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        await soon(lambda: hanging)
        shop.server.stop(30.0)
        with trio.fail_after(10):
            assert await idle.ended()
        answer = await working.answer()
        assert (answer.status, answer.headers["connection"]) == (504, "close")
        assert await working.ended()
        with pytest.raises(OSError, match="connect"):
            await shop.client()


async def test_a_stop_cuts_off_what_takes_longer_than_its_grace() -> None:
    async with open_service(ROUTES) as shop:
        hanging.clear()
        client = await shop.client()
        await client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        await soon(lambda: hanging)
        shop.server.stop(0.01)
        with trio.fail_after(5):
            assert await client.ended()


async def test_an_absolute_target_is_served_as_its_path() -> None:
    async with open_service(ROUTES) as shop:
        assert (await (await shop.client()).get("http://anything:1/echo/x?q")).body == ["x", ""]


async def test_a_segment_is_decoded_and_405_names_what_is_allowed() -> None:
    async with open_service(ROUTES) as shop:
        assert (await shop.ask("GET", "/echo/a%20b")).body == ["a b", ""]
        answer = await shop.ask("POST", "/echo/x")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, PUT")
