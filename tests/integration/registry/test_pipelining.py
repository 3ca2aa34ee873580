"""Calls that are sent together on one connection take effect in the order in which they were sent."""

import json
import threading
from typing import Any

import pytest

from tests.integration.registry.registry_process import Client, Registry, RpcFailed
from tests.redis_server import RedisServer

TRIES = 40


@pytest.fixture
def client(registry: Registry) -> Client:
    return registry.ready()


def leased(id_: str, port: int = 7100, **more: Any) -> dict[str, Any]:
    return {"Name": "job", "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:", "Lease": 60, "Uuid": id_, **more}


def send(client: Client, *calls: tuple[str, Any], dialect: int = 1) -> dict[int, Any]:
    """Send all calls in one write; return the results by the number of the call, errors as their texts."""
    version = {} if dialect == 1 else {"jsonrpc": "2.0"}
    lines = [
        json.dumps({**version, "method": f"Discovery.{method}", "params": params, "id": number})
        for number, (method, params) in enumerate(calls)
    ]
    client.sock.sendall("".join(f"{line}\n" for line in lines).encode())
    answers: list[dict[str, Any]] = []
    while len(answers) < len(calls):
        if "id" in (line := client.read()):  # else it is a notification of a watch
            answers.append(line)
    return {answer["id"]: answer.get("error") or answer.get("result") for answer in answers}


@pytest.mark.parametrize("dialect", [1, 2])
def test_maintenance_on_and_off_in_one_write_ends_off(client: Client, dialect: int) -> None:
    client.call("Register", leased("one"))
    for _ in range(TRIES):
        answers = send(
            client, ("Maintenance", [{"Id": "one", "On": True}]), ("Maintenance", ["one", False]), dialect=dialect
        )
        assert answers == {0: True, 1: True}
        assert client.state("one") == "passing"


def test_a_registration_and_its_deregistration_in_one_write_leave_nothing(client: Client) -> None:
    for number in range(TRIES):
        answers = send(
            client, ("Register", [leased(f"job-{number}", 7000 + number)]), ("Deregister", [f"job-{number}"])
        )
        assert answers == {0: f"job-{number}", 1: True}
    assert client.call("Instances") == []


def test_a_deregistration_and_a_registration_in_one_write_leave_the_instance(client: Client) -> None:
    client.call("Register", leased("one"))
    for number in range(TRIES):
        again = leased("one", Tags=[str(number)])
        assert send(client, ("Deregister", [{"Uuid": "one"}]), ("Register", [again])) == {0: True, 1: "one"}
        (instance,) = client.call("Instances", "job")
        assert instance["Tags"] == [str(number)]


def test_registrations_of_one_id_in_one_write_end_as_the_last_one(client: Client) -> None:
    calls = [("Register", [leased("one", 7000 + number, Tags=[str(number)])]) for number in range(TRIES)]
    assert send(client, *calls) == dict.fromkeys(range(TRIES), "one")
    (instance,) = client.call("Instances", "job")
    assert (instance["Addr"]["Port"], instance["Tags"]) == (7000 + TRIES - 1, [str(TRIES - 1)])


def test_registrations_of_one_address_without_an_id_are_one_instance(client: Client) -> None:
    calls = [("Register", [leased("", 7000, Tags=[str(number)])]) for number in range(TRIES)]
    assert len(set(send(client, *calls).values())) == 1
    (instance,) = client.call("Instances", "job")
    assert instance["Tags"] == [str(TRIES - 1)]


def test_a_batch_takes_effect_in_its_order_too(client: Client) -> None:
    client.call("Register", leased("one"))
    calls = [("Maintenance", ["one", True]), ("Get", ["job"]), ("Maintenance", ["one", False]), ("Get", ["job"])]
    for _ in range(TRIES):
        batch = [
            {"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": params, "id": number}
            for number, (method, params) in enumerate(calls)
        ]
        client.sock.sendall(json.dumps(batch).encode() + b"\n")
        answers: Any = client.read()
        assert [answers[0]["result"], answers[2]["result"]] == [True, True]
        assert "no passing instance (1 maintenance)" in answers[1]["error"]["message"]
        assert answers[3]["result"]["Port"] == 7100
        assert client.state("one") == "passing"


def test_clients_that_register_one_id_at_the_same_time_do_not_refuse_each_other(
    registry: Registry, client: Client
) -> None:
    errors: list[RpcFailed] = []

    def register(own: Client, port: int) -> None:
        for _ in range(5):
            try:
                own.call("Register", leased("one", port))
            except RpcFailed as error:
                errors.append(error)

    threads = [threading.Thread(target=register, args=(registry.client(), 7000 + number)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(client.call("Instances")) == 1


def test_a_renewal_behind_a_removal_in_one_write_finds_nothing(client: Client) -> None:
    """A renewal is answered while its line is read, but never before the calls about its instance that came earlier."""
    for number in range(TRIES):
        client.call("Register", leased("one", 7000 + number))
        answers = send(client, ("Deregister", ["one"]), ("Renew", ["one"]))
        assert answers[0] is True
        assert "no such instance" in answers[1]


def test_a_leased_registration_is_one_write_and_passes_at_once(client: Client) -> None:
    before = client.call("Status")["Revision"]
    client.call("Register", leased("one"))
    assert client.state("one") == "passing"
    assert client.call("Status")["Revision"] == before + 1


@pytest.mark.parametrize("dialect", [1, 2])
def test_a_lookup_behind_a_registration_and_a_removal_in_one_write_sees_them(client: Client, dialect: int) -> None:
    for number in range(TRIES):
        answers = send(
            client,
            ("Register", [leased("one", 7000 + number)]),
            ("Get", ["job"]),
            ("Deregister", ["one"]),
            ("Get", ["job"]),
            dialect=dialect,
        )
        assert answers[1] == {"IP": "127.0.0.1", "Port": 7000 + number, "Zone": ""}
        assert "no instance is registered" in str(answers[3])


def test_lists_and_watches_behind_a_change_in_one_write_see_it(client: Client) -> None:
    answers = send(
        client,
        ("Register", [leased("one")]),
        ("Instances", ["job"]),
        ("Instances", []),
        ("Services", []),
        ("Wait", ["job", 0, 5]),
        ("Watch", ["job"]),
        ("Maintenance", ["one", True]),
        ("Instances", ["job"]),
        dialect=2,
    )
    lists = [answers[1], answers[2], answers[4]["Instances"], answers[5]["Instances"]]
    assert [[one["State"] for one in found] for found in lists] == [["passing"]] * 4
    assert answers[3]["job"]["passing"] == 1
    assert [one["State"] for one in answers[7]] == ["maintenance"]


def test_no_read_waits_for_ever_for_a_write_that_hangs(
    registry: Registry, client: Client, redis_server: RedisServer
) -> None:
    """Redis is stopped. Other connections' lookups, and those of other names, are answered at once; a lookup of the name that is
    being written from memory, or with -32010 where there is nothing to remember."""
    client.call("Register", leased("one", 7100))
    client.call("Register", {**leased("two", 7200), "Name": "other"})
    bystander = registry.client()
    redis_server.pause()
    try:
        calls = [
            ("Register", [leased("one", 7300)]),
            ("Register", [{**leased("new", 7400), "Name": "new"}]),
            ("Get", ["other"]),
            ("Get", ["job"]),
            ("Get", ["new"]),
        ]
        for number, (method, params) in enumerate(calls):
            line = json.dumps({"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": params, "id": number})
            client.sock.sendall(f"{line}\n".encode())
        at_once = client.read()
        assert (at_once["id"], at_once["result"]["Port"]) == (2, 7200)
        assert bystander.call("Get", "job")["Port"] == 7100
        later = {answer["id"]: answer for answer in (client.read(), client.read())}
        assert (later[3]["result"]["Port"], later[3]["stale"]) == (7100, True)
        assert later[4]["error"]["code"] == -32010
    finally:
        redis_server.resume()


def test_calls_with_a_wrong_name_or_id_are_answered(client: Client) -> None:
    with pytest.raises(RpcFailed, match="Name: expected"):
        client.call("Register", {**leased("one"), "Name": "*"})
    with pytest.raises(RpcFailed, match="no such instance"):
        client.call("Renew", " *")
    assert client.call("Deregister", " *") is False
    with pytest.raises(RpcFailed, match="Name: expected"):
        client.call("Get", "?")
