"""Parameters of calls: by position, by name, and as the one object that Go's client can send."""

from typing import Any

import pytest

from minikube.jsonrpc.messages import RpcError
from minikube.model import Address
from minikube.registry.validation import arguments, as_address, as_incarnation, as_record, check_target

RENEW = ("Id", "State", "Output", "Incarnation")


@pytest.mark.parametrize(
    "params",
    [
        ["one", "passing", None, 7],
        {"Id": "one", "State": "passing", "Incarnation": 7},
        [{"Id": "one", "State": "passing", "Incarnation": 7}],
        [{"uuid": "one", "STATE": "passing", "incarnation": 7, "Output": None}],
    ],
)
def test_params_mean_the_same_in_every_form(params: Any) -> None:
    assert arguments(params, *RENEW, required=1) == ["one", "passing", None, 7]


@pytest.mark.parametrize("params", [None, [], {}, [{}], [None]])
def test_no_params_can_be_written_in_five_ways(params: Any) -> None:
    assert arguments(params, "Name") == [None]
    with pytest.raises(RpcError, match="Name is missing"):
        arguments(params, "Name", required=1)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ([{"Id": "one", "Uuid": "two"}], "Uuid is given twice"),
        ([{"Id": "one", "Stat": "passing"}], "unknown name 'Stat', expected Id, State, Output, Incarnation"),
        (["one", {"State": "passing"}, None, 7, 8], "expected at most 4"),
        ({"Incarnation": 7}, "Id is missing"),
    ],
)
def test_wrong_params_are_named(params: Any, text: str) -> None:
    with pytest.raises(RpcError, match=text):
        arguments(params, *RENEW, required=1)


def test_an_incarnation_of_zero_is_none() -> None:
    assert [as_incarnation(value) for value in (None, 0, 7)] == [None, None, 7]
    for wrong in ("7", 1.5, True, [7]):
        with pytest.raises(RpcError, match="Incarnation"):
            as_incarnation(wrong)


def test_a_registration_is_one_object() -> None:
    given = {"Name": "job", "Addr": "127.0.0.1:80", "HealthCheck": "ttl:"}
    assert as_record([given], (), lambda: "id", 1.0) == as_record(given, (), lambda: "id", 1.0)
    for wrong in (["job"], [given, given]):
        with pytest.raises(RpcError, match="expected one object"):
            as_record(wrong, (), lambda: "id", 1.0)


@pytest.mark.parametrize("host", ["shop", "my-host.example", "my_service", "a.b.c.", "xn--bcher-kva.example", "1host"])
def test_host_names_are_taken(host: str) -> None:
    assert host == as_address(f"{host}:80").IP


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("-bad-", "is no host name: each of its labels is 1 to 63 letters"),
        ("bad-", "is no host name"),
        ("a..b", "is no host name"),
        (".", "is no IP address"),
        ("a" * 64, "is no host name"),
        ("a.-b.c", "is no host name"),
        ("255.255.255.255", "clients cannot connect to 255.255.255.255 — register the address"),
        ("0.0.0.0", "clients cannot connect"),
        ("224.0.0.1", "clients cannot connect"),
        ("1.2.3", "is no IP address"),
    ],
)
def test_addresses_that_no_client_can_connect_to_are_refused(host: str, text: str) -> None:
    for value in (f"{host}:80", Address(host, 80)):
        with pytest.raises(RpcError, match=text):
            as_address(value)


LINK_LOCAL = ["169.254.169.254", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]"]


@pytest.mark.parametrize("host", LINK_LOCAL)
def test_an_ipv4_link_local_address_is_registered_by_no_spelling(host: str) -> None:
    for value in (f"{host}:80", Address(host.strip("[]"), 80)):
        with pytest.raises(RpcError, match=r"Addr.IP: .* is a link-local address"):
            as_address(value)


@pytest.mark.parametrize("host", [*LINK_LOCAL, "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.169.254."])
def test_an_ipv4_link_local_address_is_checked_by_no_spelling_and_no_setting(host: str) -> None:
    """Also with `allow_checks`: a cloud's metadata service, which gives out credentials, has such an address."""
    for allowed in (("*",), ("169.254.0.0/16",), (host,)):
        with pytest.raises(RpcError, match=r"HealthCheck: .* is a link-local address"):
            check_target(f"http://{host}/", as_address("127.0.0.1:80"), allowed)


@pytest.mark.parametrize("host", ["shop", "shop.example.org", "localhost"])
def test_a_host_name_is_checked_by_its_name(host: str) -> None:
    check_target(f"http://{host}/health", as_address(f"{host}:80"), ())
    check_target(f"tcp://{host}:80", as_address("127.0.0.1:80"), ("*",))


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "0", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"])
def test_no_setting_allows_checks_of_other_refused_addresses(host: str) -> None:
    for allowed in (("*",), (host.strip("[]"),)):
        with pytest.raises(RpcError, match=r"HealthCheck: .*, which is never checked"):
            check_target(f"http://{host}/", as_address("127.0.0.1:80"), allowed)


@pytest.mark.parametrize("host", ["0x7f000001", "0177.0.0.1", "0x7f.1"])
def test_an_address_in_an_old_notation_is_no_host_name(host: str) -> None:
    with pytest.raises(RpcError, match="is no IP address"):
        as_address(f"{host}:80")


def test_an_ipv4_address_has_one_spelling() -> None:
    assert as_address("[::ffff:127.0.0.1]:7070") == as_address("[::ffff:7f00:1]:7070") == Address("127.0.0.1", 7070)


def test_a_zone_is_one_of_an_ipv6_address_and_of_an_interface() -> None:
    assert as_address("[fe80::1%lo]:80") == Address("fe80::1", 80, "lo")
    for value in ("127.0.0.1%lo:80", Address("::ffff:127.0.0.1", 80, "lo"), Address("shop", 80, "lo")):
        with pytest.raises(RpcError, match=r"Addr.Zone: .* only IPv6 addresses have a zone"):
            as_address(value)
    for zone in ("nope", "99999"):
        with pytest.raises(RpcError, match=rf"Addr.Zone: the registry's machine has no interface {zone}"):
            as_address(f"[fe80::1%{zone}]:80")
