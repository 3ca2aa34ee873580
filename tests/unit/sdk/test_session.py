"""Where the registries are, which one is in use, and when a call is sent again."""

import pytest

from minikube.errors import Unavailable, UsageError
from minikube.jsonrpc.calls import ConnectionLost
from minikube.sdk.session import Attempts, Endpoints, NoAnswer, NotARegistry, RegistryAddress, find_registry


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("http://127.0.0.1:5555", "write it without the scheme: '127.0.0.1:5555'"),
        ("http://127.0.0.1:5555/", "write it without the scheme: '127.0.0.1:5555'"),
        ("https://r:5555", "write it without the scheme: 'r:5555'; MINIKUBE_REGISTRY_CA turns TLS on"),
        ("tls://r:5555", "write it without the scheme: 'r:5555'; MINIKUBE_REGISTRY_CA turns TLS on"),
        ("tcp://r:5555", "write it without the scheme: 'r:5555'"),
        ("consul", "the port is missing: 'consul:5555'"),
        ("5555", "the port is missing: '127.0.0.1:5555'"),
        ("r:5555/path", "a registry has no path: 'r:5555'"),
        ("me@r:5555", "a registry has no user: MINIKUBE_REGISTRY_TOKEN is the token"),
        ("::1:5555", "an IPv6 address stands in brackets: '[::1]:5555'"),
        ("::1", "an IPv6 address stands in brackets: '[::1]:5555'"),
        ("r:http", "the port is a number from 1 to 65535"),
        ("r:0", "the port is a number from 1 to 65535"),
        ("r 1:5555", "the port is a number from 1 to 65535"),
        ("a:1,", "an address is empty: remove the comma, or name a registry"),
        ("a:1,http://b:2", "write it without the scheme: 'b:2'"),
    ],
)
def test_a_malformed_address_says_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_registry(None, None, {"MINIKUBE_REGISTRY": text})
    assert str(caught.value).startswith(f"MINIKUBE_REGISTRY: expected host:port, got {text!r} — {advice}")
    with pytest.raises(UsageError, match=r"^registry address: expected host:port"):
        find_registry(text, None, {"MINIKUBE_REGISTRY": "good:1"})


def test_a_list_of_addresses_is_kept_in_its_order() -> None:
    found = find_registry("a:5555, [::1]:2,c:3", "t", {})
    assert found == RegistryAddress("a", 5555, "t", alternatives=(("::1", 2), ("c", 3)))
    assert str(found) == "a:5555,[::1]:2,c:3"


def endpoints(text: str = "a:1,b:2") -> Endpoints:
    return Endpoints(find_registry(text, "t", {}))


def test_the_next_registry_is_used_once_for_one_failure() -> None:
    registries = endpoints()
    first = registries.current
    assert str(first) == "a:1"
    registries.leave(first)
    second = registries.current
    assert str(second) == "b:2"
    assert second.token == "t"
    registries.leave(first)  # another call, which failed on the same connection
    assert registries.current is second
    registries.leave(second)
    assert registries.current is first


def test_one_registry_stays_in_use() -> None:
    registries = endpoints("a:1")
    registries.leave(registries.current)
    assert str(registries.current) == "a:1"
    assert (registries.several, registries.connect_limit_s(5.0)) == (False, 5.0)
    assert (endpoints().several, endpoints().connect_limit_s(5.0)) == (True, 0.8)


def test_the_next_of_several_is_tried_at_once_then_there_are_delays() -> None:
    registries = endpoints()
    registries.reached = True
    attempts = Attempts(registries, 10.0)
    assert [attempts.failed(ConnectionLost("x"), 0.0) for _ in range(6)] == [0.0, 0.02, 0.0, 0.04, 0.0, 0.08]


def test_registries_that_were_never_reached_are_all_named() -> None:
    attempts = Attempts(endpoints(), 10.0)
    assert attempts.failed(ConnectionLost("a is away"), 0.0) == 0.0
    with pytest.raises(Unavailable, match=r"^registry a:1,b:2: a is away; b is away$"):
        attempts.failed(ConnectionLost("b is away"), 0.0)


def test_a_peer_that_is_no_registry_is_reported_at_once_after_one_was_reached() -> None:
    registries = endpoints("a:1")
    registries.reached = True
    with pytest.raises(Unavailable, match=r"^registry a:1: an HTTP server$"):
        Attempts(registries, 10.0).failed(NotARegistry("an HTTP server"), 0.0)


def test_a_peer_that_never_answers_is_reported_soon() -> None:
    registries = endpoints("a:1")
    registries.reached = True
    attempts = Attempts(registries, 10.0)
    assert sum(attempts.failed(NoAnswer("closed"), 0.0) for _ in range(4)) == pytest.approx(0.3)
    with pytest.raises(Unavailable, match=r"^registry a:1: closed$"):
        attempts.failed(NoAnswer("closed"), 0.3)


def test_a_registry_that_has_answered_is_waited_for() -> None:
    registries = endpoints("a:1")
    registries.reached = True
    registries.on_answer()
    attempts = Attempts(registries, 10.0)
    assert [attempts.failed(NoAnswer("closed"), 0.0) for _ in range(8)][-1] == 1.0


def test_a_call_is_not_sent_again_after_its_deadline() -> None:
    registries = endpoints("a:1")
    registries.reached = True
    attempts = Attempts(registries, 10.0)
    assert attempts.failed(ConnectionLost("x"), 9.0) == 0.02
    with pytest.raises(Unavailable, match=r"^registry a:1: x$"):
        attempts.failed(ConnectionLost("x"), 9.99)
