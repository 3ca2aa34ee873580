"""The services' small decisions: settings, bodies, keys, the URL of a Redis."""

import errno
import os
import socket
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from services import app, order
from services.product import Change, read_change
from services.store import open_redis
from services.web import HttpError, Request
from tests.eventually import eventually
from tests.paths import ROOT
from tests.ports import free_port


def start(service: str = "product", **env: str) -> "subprocess.Popen[str]":
    """A service as a process, without a registry or a Redis."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PORT", "HOST", "REDIS_URL")}
    return subprocess.Popen(
        [sys.executable, "-m", f"services.{service}"],
        cwd=ROOT,
        env={**kept, "MINIKUBE_REGISTRY": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_name_host_and_port_come_from_the_environment() -> None:
    with start(SERVICE_NAME="p2", HOST="127.0.0.2", PORT="0") as process:
        assert first_line(process).startswith("p2: listening on 127.0.0.2:")
        process.kill()


@pytest.mark.parametrize("port", ["x", "-1", "65536", "7070.0", "٣"])
def test_a_wrong_port_is_an_error_in_one_line(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(SystemExit) as caught:
        app.run("product", 7070, lambda store: ({}, []))
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"product: PORT must be 0 to 65535, not {port!r}\n"


def test_a_wrong_address_of_the_registry_is_an_error_in_one_line() -> None:
    with start(PORT="0", MINIKUBE_REGISTRY="bad") as process:
        assert process.wait(timeout=30) == 2
        assert process.stderr is not None
        error = process.stderr.read()
    assert error == "product: MINIKUBE_REGISTRY: expected host:port, got 'bad' — the port is missing: 'bad:5555'\n"


def test_a_port_that_is_taken_is_an_error_in_one_line() -> None:
    with start(PORT=str(free_port())) as first:
        place = first_line(first).rpartition(" ")[2].strip()
        with start(PORT=place.rpartition(":")[2]) as second:
            assert second.wait(timeout=30) == 1
            assert second.stderr is not None
            stderr = second.stderr.read()
        first.kill()
    reason = os.strerror(errno.EADDRINUSE)
    assert stderr == f"product: cannot listen on {place}: {reason} — set PORT or stop what uses it\n"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"name":"pear"}', Change("pear", None)),
        (b'{"quantity":0}', Change(None, 0)),
        (b' {"name":"p","quantity":3} ', Change("p", 3)),
    ],
)
def test_a_body_sets_what_it_names(body: bytes, wanted: Change) -> None:
    assert read_change(body) == wanted


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"x",
        b"\xff",
        b'{"name":"\xff"}',
        b'{"name":""}',
        b'{"name":"a\\u0000"}',
        b'{"name":"\\ud800"}',
        b'{"name":"' + b"x" * 201 + b'"}',
        b'{"name":3}',
        b'{"quantity":-1}',
        b'{"quantity":1.5}',
        b'{"quantity":true}',
        b'{"quantity":NaN}',
        b'{"quantity":1000000001}',
        b'{"quantity":"3"}',
        b'{"quantity":1,"colour":"red"}',
        b'{"quantity":' + b"[" * 50_000,
    ],
)
def test_a_wrong_body_is_400_with_the_reason(body: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        read_change(body)
    status, reply, _headers = caught.value.reply
    assert status == 400
    assert msgspec.json.decode(reply)["error"]


SENTINEL = "redis+sentinel://"


@pytest.mark.parametrize(
    ("url", "places", "service", "login", "sentinel_password"),
    [
        (f"{SENTINEL}a:1,b/main/2", [("a", 1), ("b", 26379)], "main", (None, None, 2), None),
        (f"{SENTINEL}[::1]:5,[::2]/m", [("::1", 5), ("::2", 26379)], "m", (None, None, 0), None),
        (f"{SENTINEL}me:a%40b@h:1/m/0", [("h", 1)], "m", ("me", "a@b", 0), None),
        (f"{SENTINEL}p%2Fw@h:1/m?sentinel_password=se%26c", [("h", 1)], "m", (None, "p/w", 0), "se&c"),
    ],
)
def test_a_sentinel_url_is_read_as_the_registry_reads_it(
    url: str, places: list[Any], service: str, login: tuple[Any, ...], sentinel_password: str | None
) -> None:
    pool: Any = open_redis(url).connection_pool
    sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in sentinels] == places
    assert sentinels[0].get("password") == sentinel_password
    assert pool.service_name == service
    assert tuple(pool.connection_kwargs.get(key) for key in ("username", "password", "db")) == login


def test_a_key_is_visible_ascii_of_bounded_length() -> None:
    def key(value: bytes) -> str | None:
        return Request("", {b"idempotency-key": value}, b"").key()

    assert Request("", {}, b"").key() is None
    assert key(b"a-1") == "a-1"
    for wrong in (b"", b"a b", b"x" * 129, b"\xe4"):
        with pytest.raises(HttpError, match="Idempotency-Key"):
            key(wrong)


@pytest.mark.parametrize("service", ["product", "order"])
def test_term_ends_a_service_with_0(service: str) -> None:
    with start(service, PORT="0") as process:
        first_line(process)
        process.terminate()
        assert process.wait(timeout=30) == 0


def stopping(process: "subprocess.Popen[str]") -> socket.socket:
    """Send half a request, then TERM; return the connection once the service stops."""
    host, _, port = first_line(process).rpartition(" ")[2].strip().rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    client.sendall(b"GET /health HTTP/1.1\r\n")
    time.sleep(0.2)  # until it is read: there is nothing to see from here
    process.terminate()
    assert first_line(process) == "product: stopping\n"
    return client


def refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as other:
        return other.connect_ex(address) != 0


def test_a_request_under_way_is_finished_before_the_end() -> None:
    with start(PORT="0") as process, stopping(process) as client:
        eventually(lambda: refuses(client.getpeername()), what="no more connections are accepted")
        client.sendall(b"Host: x\r\n\r\n")
        assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
        client.close()
        assert process.wait(timeout=30) == 0


def test_a_second_signal_ends_a_stop_at_once() -> None:
    with start(PORT="0") as process, stopping(process):
        process.terminate()
        assert process.wait(timeout=app.DRAIN_S - 2) == 0


def test_a_stop_waits_for_the_longest_purchase_and_is_over_before_the_kill() -> None:
    deregister, kill = 1.0, 10.0
    assert order.PURCHASE_S < app.DRAIN_S
    assert deregister + app.DRAIN_S < kill
