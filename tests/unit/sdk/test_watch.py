"""A watch: every change once and in order, over any number of connections."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.errors import RemoteError
from minikube.jsonrpc.calls import ConnectionLost
from minikube.model import Change
from minikube.sdk.requests import WatchSnapshot
from minikube.sdk.session import FAILOVER_S, NotARegistry, RegistryAddress
from minikube.sdk.watch import QUIET_S, REPLY_S, Watcher

INSTANCE = {"Uuid": "u", "Name": "web", "Addr": {"IP": "1.2.3.4", "Port": 5}, "HealthCheck": "", "State": "passing"}


def sent(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def started(revision: int, *, resumed: bool = False, id_: int = 1) -> bytes:
    return line(id=id_, result={"Watch": 1, "Revision": revision, "Instances": None if resumed else [INSTANCE]})


def changed(revision: int, method: str = "Discovery.Changed") -> bytes:
    return line(method=method, params={"Watch": 1, "Revision": revision, "Kind": "put", "Instance": INSTANCE})


def revisions(updates: list[WatchSnapshot | Change]) -> list[int]:
    return [update.revision for update in updates]


def test_it_asks_for_the_name_and_yields_a_snapshot_then_changes() -> None:
    watcher = Watcher("web")
    (request,) = sent(watcher.on_connect())
    assert (request["method"], request["params"]) == ("Discovery.Watch", ["web"])
    assert not watcher.accepted
    updates = watcher.feed(started(3) + changed(4) + changed(7))
    assert [type(update) for update in updates] == [WatchSnapshot, Change, Change]
    assert revisions(updates) == [3, 4, 7]
    assert watcher.accepted
    assert watcher.take_output() == b""


def test_a_token_goes_first() -> None:
    watcher = Watcher("*", RegistryAddress("registry", 5555, "secret"))
    assert [r["method"] for r in sent(watcher.on_connect())] == ["Discovery.Authenticate"]
    assert watcher.feed(line(id=1, result=True)) == []
    assert [r["method"] for r in sent(watcher.take_output())] == ["Discovery.Watch"]
    assert revisions(watcher.feed(started(3, id_=2))) == [3]


def test_a_wrong_token_is_reported() -> None:
    watcher = Watcher("*", RegistryAddress("registry", 5555, "secret"))
    watcher.on_connect()
    with pytest.raises(RemoteError, match="wrong token"):
        watcher.feed(line(id=1, error={"code": -32001, "message": "wrong token"}))


def test_without_the_environments_token_where_the_registry_does_not_know_it_and_needs_none() -> None:
    watcher = Watcher("*", RegistryAddress("registry", 5555, "secret", is_token_optional=True))
    for _ in range(2):
        watcher.on_connect()
        assert watcher.feed(line(id=1, error={"code": -32001, "message": "wrong token"})) == []
        assert [r["method"] for r in sent(watcher.take_output())] == ["Discovery.Watch"]
        watcher.feed(started(3, id_=2))
        assert watcher.accepted


def test_the_environments_wrong_token_is_reported_where_the_registry_needs_one() -> None:
    watcher = Watcher("*", RegistryAddress("registry", 5555, "secret", is_token_optional=True))
    watcher.on_connect()
    watcher.feed(line(id=1, error={"code": -32001, "message": "wrong token"}))
    with pytest.raises(RemoteError, match="wrong token"):
        watcher.feed(line(id=2, error={"code": -32001, "message": "a token is needed"}))


def test_on_a_new_connection_it_resumes_after_the_last_revision() -> None:
    watcher = Watcher("web")
    watcher.on_connect()
    watcher.feed(started(3) + changed(4))
    (request,) = sent(watcher.on_connect())
    assert request["params"] == ["web", 4]
    assert revisions(watcher.feed(started(9, resumed=True) + changed(4) + changed(6) + changed(9))) == [6, 9]


def test_when_the_way_from_there_is_forgotten_it_starts_over() -> None:
    watcher = Watcher("web")
    watcher.on_connect()
    watcher.feed(started(3))
    watcher.on_connect()
    assert watcher.feed(line(id=1, error={"code": -32011, "message": "compacted"}) + changed(8)) == []
    (request,) = sent(watcher.take_output())
    assert request["params"] == ["web"]
    assert revisions(watcher.feed(started(9, id_=2) + changed(10))) == [9, 10]


def test_an_error_about_the_connection_means_connecting_again() -> None:
    watcher = Watcher()
    watcher.on_connect()
    with pytest.raises(ConnectionLost, match="too many connections"):
        watcher.feed(line(id=None, error={"code": -32000, "message": "too many connections"}))


def test_other_messages_are_ignored() -> None:
    watcher = Watcher()
    watcher.on_connect()
    assert watcher.feed(line(id=99, result=1) + line(id="x", result=1) + changed(1)) == []
    watcher.feed(started(1))
    assert watcher.feed(changed(2, "Discovery.Other") + line(method="Discovery.Changed")) == []


def test_a_silent_registry_is_asked_for_its_status_and_given_up_without_a_reply() -> None:
    watcher = Watcher()
    watcher.on_connect()
    assert watcher.silence_limit_s == REPLY_S
    with pytest.raises(ConnectionLost, match="no answer"):
        watcher.on_silence()
    watcher.on_connect()
    watcher.feed(started(3))
    assert watcher.silence_limit_s == QUIET_S
    (request,) = sent(watcher.on_silence())
    assert (request["method"], watcher.silence_limit_s) == ("Discovery.Status", REPLY_S)
    answers: list[dict[str, Any]] = [
        {"result": {"Version": "1"}},
        {"error": {"code": -32001, "message": "a token is needed"}},
    ]
    for answer in answers:
        assert watcher.feed(line(id=request["id"], **answer)) == []
        assert watcher.silence_limit_s == QUIET_S
        (request,) = sent(watcher.on_silence())
    assert revisions(watcher.feed(changed(4))) == [4]
    with pytest.raises(ConnectionLost, match="no answer"):
        watcher.on_silence()


@given(st.lists(st.integers(1, 30), max_size=60))
def test_whatever_is_repeated_nothing_comes_twice_or_backwards(numbers: list[int]) -> None:
    watcher = Watcher()
    watcher.on_connect()
    got = revisions(watcher.feed(started(0) + b"".join(map(changed, numbers))))
    assert got == sorted(set(got))
    assert set(got) == {0} | {n for i, n in enumerate(numbers) if n > max([0, *numbers[:i]])}


def test_a_silent_registry_is_left_soon_when_there_is_another() -> None:
    watcher = Watcher("web", leaves_silent=True)
    watcher.on_connect()
    assert watcher.silence_limit_s == FAILOVER_S / 2
    watcher.feed(started(3))
    assert watcher.silence_limit_s == FAILOVER_S / 2, "it is asked for a sign of life"
    assert [r["method"] for r in sent(watcher.on_silence())] == ["Discovery.Status"]
    with pytest.raises(ConnectionLost, match=r"no answer within 0\.4 s"):
        watcher.on_silence()


def test_only_a_peer_that_is_no_registry_is_logged_and_once() -> None:
    watcher = Watcher("web")
    assert watcher.problem_to_log(ConnectionLost("refused")) == ""
    assert watcher.problem_to_log(OSError("reset")) == ""
    assert watcher.problem_to_log(NotARegistry("it is an HTTP server")) == (
        "watch of web: it is an HTTP server; trying again"
    )
    assert watcher.problem_to_log(NotARegistry("it is an HTTP server")) == ""
    assert watcher.problem_to_log(NotARegistry("it speaks TLS")) != ""


def test_a_registry_without_watches_is_called_older() -> None:
    watcher = Watcher("web")
    watcher.on_connect("r:1")
    with pytest.raises(
        RemoteError, match=r"^the registry at r:1 is older than this SDK and does not know Discovery\.Watch"
    ):
        watcher.feed(line(id=1, error={"code": -32601, "message": "unknown method"}))
