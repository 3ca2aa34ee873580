"""The services' small decisions: settings, bodies, keys, and which instance to try next."""

import signal
from typing import Any

import msgspec
import pytest
import trio

from minikube import Address, Change, ChangeKind, CheckState, Instance, WatchSnapshot
from services import app, order, orders
from services.app import BadSetting, Service, Settings, serve
from services.directory import Directory
from services.http_client import Answer
from services.messages import HttpError, Request
from services.order import _Attempts
from services.product import Wanted, read_key, read_wanted
from services.store import open_pool


def instance(port: int, state: CheckState = CheckState.PASSING, ip: str = "127.0.0.1", zone: str = "") -> Instance:
    return Instance(f"{port:08x}", "product", Address(ip, port, zone), "tcp://127.0.0.1:1", state)


def directory(*ports: int) -> Directory:
    directory = Directory("product")
    directory.apply(WatchSnapshot(revision=1, instances=tuple(instance(port) for port in ports)))
    return directory


def place(port: int) -> tuple[str, int]:
    return ("127.0.0.1", port)


def test_settings_default_to_the_sample_manifest() -> None:
    settings = Settings.from_environ("product", 7070, {})
    assert settings == ("product", "127.0.0.1", 7070, None, "redis://127.0.0.1:6379/0")


def test_settings_come_from_the_environment() -> None:
    environ = {
        "SERVICE_NAME": "p2",
        "HOST": "0.0.0.0",
        "PORT": "0",
        "ADVERTISE_HOST": "shelf",
        "REDIS_URL": "unix:///r",
    }
    assert Settings.from_environ("product", 7070, environ) == ("p2", "0.0.0.0", 0, "shelf", "unix:///r")


@pytest.mark.parametrize("port", ["x", "-1", "65536", "7070.0", "٣"])
def test_a_port_that_is_none_is_an_error_in_one_line(port: str) -> None:
    with pytest.raises(BadSetting, match="PORT must be"):
        Settings.from_environ("product", 7070, {"PORT": port})


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"name":"pear"}', Wanted("pear", None)),
        (b'{"quantity":0}', Wanted(None, 0)),
        (b' {"name":"p","quantity":3} ', Wanted("p", 3)),
    ],
)
def test_a_body_sets_what_it_names(body: bytes, wanted: Wanted) -> None:
    assert read_wanted(body) == wanted


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
        read_wanted(body)
    assert caught.value.reply.status == 400
    assert msgspec.json.decode(caught.value.reply.body)["error"]


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
    pool: Any = open_pool(url)
    sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in sentinels] == places
    assert sentinels[0].get("password") == sentinel_password
    assert pool.service_name == service
    assert tuple(pool.connection_kwargs.get(key) for key in ("username", "password", "db")) == login


def test_a_key_is_visible_ascii_of_bounded_length() -> None:
    def key(value: bytes) -> str | None:
        return read_key(Request("PUT", "/", "", [(b"idempotency-key", value)], b""))

    assert read_key(Request("PUT", "/", "", [], b"")) is None
    assert key(b"a-1") == "a-1"
    for wrong in (b"", b"a b", b"x" * 129, b"\xe4"):
        with pytest.raises(HttpError, match="Idempotency-Key"):
            key(wrong)


async def test_a_directory_follows_snapshots_and_changes() -> None:
    found = directory(1, 2)
    assert {found.pick(set()), found.pick(set())} == {place(1), place(2)}
    found.apply(Change(2, ChangeKind.PUT, instance(1, CheckState.CRITICAL)))
    assert [found.pick(set()) for _ in range(2)] == [place(2)] * 2
    found.apply(Change(3, ChangeKind.GONE, instance(2)))
    assert found.pick(set()) is None
    found.apply(Change(4, ChangeKind.PUT, instance(3, ip="fe80::1", zone="eth0")))
    assert found.pick(set()) == ("fe80::1%eth0", 3)
    found.apply(WatchSnapshot(revision=9, instances=()))
    assert found.pick(set()) is None


async def test_an_instance_that_failed_is_avoided_while_there_is_another() -> None:
    found = directory(1, 2)
    assert {found.pick({place(1)}) for _ in range(4)} == {place(2)}
    assert found.pick({place(1), place(2)}) is not None


async def test_before_the_registry_spoke_it_is_503_of_the_registry() -> None:
    with pytest.raises(HttpError, match="registry"):
        _Attempts(Directory("product"), 0.0).next_place(0.0)


async def test_refusals_lead_to_every_instance_then_a_pause_then_503() -> None:
    attempts = _Attempts(directory(1, 2), 0.0)
    for _ in range(2):
        at = attempts.next_place(0.0)
        assert at is not None
        attempts.refused(at)
    assert attempts.next_place(0.0) is None
    assert attempts.pause() == order.PAUSE_S
    again = attempts.next_place(0.0)
    assert again is not None
    attempts.refused(again)
    attempts.refused(place(1))
    attempts.refused(place(2))
    with pytest.raises(HttpError, match="refuses"):
        attempts.next_place(order.REFUSED_S + 0.01)


async def test_once_something_was_sent_it_goes_on_until_the_end() -> None:
    found = directory(1)
    attempts = _Attempts(found, 0.0)
    attempts.unanswered(place(1))
    found.apply(WatchSnapshot(revision=2, instances=()))
    assert attempts.next_place(0.0) is None, "503 would say that nothing was done"
    attempts.pause()
    assert attempts.next_place(0.0) is None
    found.apply(WatchSnapshot(revision=3, instances=(instance(7),)))
    assert attempts.next_place(0.0) == place(7)
    assert attempts.over("the-key").reply.status == 504
    assert b"the-key" in attempts.over("the-key").reply.body


async def test_an_instance_that_did_nothing_passes_its_reason_on() -> None:
    attempts = _Attempts(directory(1), 0.0)
    with pytest.raises(HttpError, match="no Redis"):
        attempts.put_off(place(1), Answer(503, b'{"error":"no Redis"}'))
    attempts.put_off(place(1), Answer(504, b"{}"))
    attempts.put_off(place(1), Answer(503, b"not JSON"))
    assert attempts.over("k").reply.status == 504


async def test_what_is_left_is_written_after_the_last_request_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY", "127.0.0.1:1")
    told: list[str] = []

    async def finish() -> str:
        told.append("finish")
        return "one order is left"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, Service(Settings("shop", "127.0.0.1", 0, None, ""), {}, finish=finish))
        while "listening" not in capsys.readouterr().out:
            await trio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)
    assert told == ["finish"]
    assert "shop: one order is left" in capsys.readouterr().out


def test_a_stop_waits_for_the_longest_purchase_and_is_over_before_the_kill() -> None:
    deregister, kill = 1.0, 10.0
    assert order.PURCHASE_S + orders.RECORD_WAIT_S < app.DRAIN_S
    assert order.PURCHASE_S + orders.RECORD_WAIT_S < order.HANDLE_S
    assert deregister + app.DRAIN_S + orders.FLUSH_S < kill
