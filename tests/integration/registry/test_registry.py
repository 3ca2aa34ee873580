"""The registry as a process with a real Redis: what clients can rely on while nothing is broken."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.eventually import eventually
from tests.integration.registry.registry_process import Client, Registry, RpcFailed, Service, services
from tests.redis_server import RedisServer

QUICK = {"Interval": "200ms", "Timeout": "5s"}


@pytest.fixture
def client(registry: Registry) -> Client:
    return registry.ready()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a registry that stays empty, shared by tests that register nothing."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        made = Registry(redis.url)
        try:
            yield made.start().ready()
        finally:
            made.close()


def test_a_registration_is_discoverable_when_its_call_returns(
    client: Client, service: Service, redis_server: RedisServer
) -> None:
    id_ = client.call("Register", service.registration("product"))
    assert len(id_) == 8
    assert int(id_, 16) >= 0
    assert client.call("Get", "product") == {"IP": "127.0.0.1", "Port": service.port, "Zone": ""}
    with redis_server.client() as redis:
        stored = redis.hgetall(f"{{minikube}}:instance:product:{id_}")
    assert stored["name"] == "product"
    assert stored["addr"] == f"127.0.0.1:{service.port}"
    assert stored["health"] == f"http://127.0.0.1:{service.port}/health"
    assert stored["uuid"] == id_
    (instance,) = client.call("Instances", "product")
    assert (instance["State"], instance["Output"]) == ("passing", "200 OK: as you see")


def test_a_lookup_matches_the_whole_name(client: Client, service: Service) -> None:
    client.call("Register", service.registration("orders"))
    assert client.get("orders") == service.port
    assert client.get("order") == 0


def test_the_same_address_or_id_is_the_same_instance(client: Client) -> None:
    with services(2) as (first, second):
        id_ = client.call("Register", first.registration("product"))
        assert client.call("Register", first.registration("product", Tags=["new"])) == id_
        assert client.call("Register", second.registration("product", Uuid=id_)) == id_
        (instance,) = client.call("Instances")
        assert instance["Addr"]["Port"] == second.port
        assert client.get("product") == second.port


def test_registering_again_keeps_an_instance_discoverable(registry: Registry, client: Client, service: Service) -> None:
    client.call("Register", service.registration("product"))
    service.hang()
    watcher = registry.client()
    watcher.call("Watch", "product")
    client.call("Register", service.registration("product"))
    assert client.get("product") == service.port
    assert watcher.notice()["Instance"]["State"] == "passing"
    service.release()


def test_lookups_go_round_robin(client: Client) -> None:
    with services(3) as made:
        for one in made:
            client.call("Register", one.registration("product"))
        seen = [client.get("product") for _ in range(6)]
        assert sorted(seen[:3]) == sorted(one.port for one in made)
        assert seen[:3] == seen[3:]


def test_a_failing_instance_is_critical_at_once_and_passes_again(
    registry: Registry, client: Client, redis_server: RedisServer
) -> None:
    with services(1) as (service,):
        id_ = client.call("Register", service.registration("product", **QUICK))
        watcher = registry.client()
        watcher.call("Watch", "*")
        service.status = 503
        notice = watcher.notice()
        assert (notice["Kind"], notice["Instance"]["State"]) == ("put", "critical")
        assert notice["Instance"]["Output"].startswith("503")
        assert client.get("product") == 0
        with redis_server.client() as redis:
            assert redis.exists(f"{{minikube}}:instance:product:{id_}") == 0
            service.status = 302
            another = watcher.notice()["Instance"]  # a redirect is not followed
            assert (another["State"], another["Output"][:3], another["Since"]) == (
                "critical",
                "302",
                notice["Instance"]["Since"],
            )
            service.status = 204
            again = watcher.notice()
            assert again["Instance"]["State"] == "passing"
            assert again["Revision"] > notice["Revision"]
            assert redis.exists(f"{{minikube}}:instance:product:{id_}") == 1


def test_a_hanging_instance_is_probed_once_more(client: Client, service: Service) -> None:
    id_ = client.call("Register", service.registration("product", Interval="200ms", Timeout="500ms"))
    service.hang()
    requests = service.requests
    eventually(lambda: client.state(id_) == "critical")
    assert service.requests - requests >= 2
    service.release()
    eventually(lambda: client.state(id_) == "passing")


def test_an_instance_that_never_passes_again_is_removed(client: Client) -> None:
    with services(1) as (service,):
        id_ = client.call("Register", service.registration("product", ForgetAfter="1s", **QUICK))
    eventually(lambda: client.state(id_) == "critical")
    eventually(lambda: client.state(id_) == "")
    with pytest.raises(RpcFailed) as failed:
        client.call("Renew", id_)
    assert failed.value.code == -32004
    assert client.call("Services") == {}


def test_a_removal_of_an_old_incarnation_does_nothing(client: Client, service: Service) -> None:
    id_ = client.call("Register", service.registration("product"))
    old = client.call("Instances")[0]["Incarnation"]
    client.call("Register", service.registration("product"))
    assert client.call("Instances")[0]["Incarnation"] > old
    assert client.call("Deregister", id_, old) is False
    assert client.get("product") == service.port
    assert client.call("Deregister", id_) is True
    assert client.call("Deregister", id_) is False


def test_a_lease_lasts_while_it_is_renewed(client: Client) -> None:
    id_ = client.call("Register", {"Name": "worker", "Addr": "127.0.0.1:9", "HealthCheck": "ttl:", "Lease": "3s"})
    assert client.get("worker") == 9
    renewed_until = time.monotonic() + 4.5
    while time.monotonic() < renewed_until:
        assert (
            client.call("Wait", "worker", client.call("Status")["Revision"], 0.2)["Instances"][0]["State"] == "passing"
        )
        assert client.call("Renew", id_) is True
    eventually(lambda: client.state(id_) == "critical")
    assert client.call("Renew", id_) is True
    eventually(lambda: client.state(id_) == "passing")


def test_a_state_reported_by_a_ttl_instance_counts_at_once_and_stays(client: Client, service: Service) -> None:
    """A `ttl:` instance reports its own state with its renewal; only `passing` makes it discoverable again."""
    id_ = client.call("Register", {"Name": "worker", "Addr": "127.0.0.1:9", "HealthCheck": "ttl:", "Lease": "60s"})
    assert client.call("Renew", id_, "critical", "exit 3: no disk") is True
    assert client.get("worker") == 0
    (instance,) = client.call("Instances", "worker")
    assert (instance["State"], instance["Output"]) == ("critical", "exit 3: no disk")
    assert client.call("Renew", id_, "critical", "exit 4") is True
    assert client.state(id_) == "critical"
    assert client.call("Renew", id_, "passing", "fine again") is True
    assert client.get("worker") == 9
    client.call("Maintenance", id_, True, "")
    client.call("Renew", id_, "critical", "")
    assert client.state(id_) == "maintenance"
    client.call("Maintenance", id_, False, "")
    assert client.state(id_) == "critical"
    with pytest.raises(RpcFailed, match='State: expected "passing" or "critical", got \'well\''):
        client.call("Renew", id_, "well")
    probed = client.call("Register", service.registration("product"))
    with pytest.raises(RpcFailed, match="is checked by the registry"):
        client.call("Renew", probed, "critical")


def test_an_instance_in_maintenance_is_not_discoverable(client: Client, service: Service) -> None:
    id_ = client.call("Register", service.registration("product"))
    assert client.call("Maintenance", id_, True, "new disk") is True
    assert client.get("product") == 0
    (instance,) = client.call("Instances")
    assert (instance["State"], instance["Output"]) == ("maintenance", "new disk")
    client.call("Register", service.registration("product"))
    assert client.state(id_) == "maintenance"
    client.call("Maintenance", id_, False, "")
    assert client.get("product") == service.port


def test_watchers_resume_by_revision_and_an_unknown_revision_is_refused(registry: Registry, client: Client) -> None:
    with services(1) as (service,):
        start = client.call("Status")["Revision"]
        id_ = client.call("Register", service.registration("product"))
        client.call("Deregister", id_)
        watcher = registry.client()
        result = watcher.call("Watch", "product", start)
        assert result["Instances"] is None
        kinds = [watcher.notice() for _ in range(3)]
        assert [one["Kind"] for one in kinds] == ["put", "put", "gone"]
        revisions = [one["Revision"] for one in kinds]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == result["Revision"]
        with pytest.raises(RpcFailed) as failed:
            watcher.call("Watch", "product", result["Revision"] + 1000)
        assert failed.value.code == -32011


def test_a_long_poll_ends_with_the_change(registry: Registry, client: Client, service: Service) -> None:
    first = client.call("Wait", "product", 0, "10ms")
    assert first["Instances"] == []
    waiter = registry.client()
    request = {"method": "Discovery.Wait", "params": ["product", first["Revision"], 10], "id": 5}
    waiter.sock.sendall(json.dumps(request).encode() + b"\n")
    id_ = client.call("Register", service.registration("product"))
    answer = waiter.read()
    assert answer["error"] is None
    assert answer["result"]["Instances"][0]["Uuid"] == id_
    assert answer["result"]["Revision"] > first["Revision"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"Name": "Product"}, "Name"),
        ({"Name": "product\n"}, "Name"),
        ({"Name": "-"}, "Name"),
        ({"Addr": "127.0.0.1"}, "Addr"),
        ({"Addr": "127.0.0.1:0"}, "Port"),
        ({"Addr": "127.0.0.1:" + "9" * 5_000}, "Addr"),
        ({"Addr": "0.0.0.0:80"}, "Addr"),
        ({"Addr": "1.2.3:80"}, "Addr"),
        ({"HealthCheck": "http://10.0.0.1/"}, "allow_checks"),
        ({"HealthCheck": "http://127.0.0.1@10.0.0.1/"}, "user"),
        ({"HealthCheck": "file:///etc/passwd"}, "HealthCheck"),
        ({"HealthCheck": "tcp://127.0.0.1"}, "HealthCheck"),
        ({"HealthCheck": "http://127.0.0.1:0/"}, "port 0"),
        ({"HealthCheck": "http://127.0.0.1/\r\nX: y"}, "HealthCheck"),
        ({"Interval": "soon"}, "Interval"),
        ({"Lease": -1}, "Lease: expected 0.5 to 2678400 seconds, got -1"),
        ({"Failures": 0}, "Failures"),
        ({"Uuid": "a:b"}, "Uuid"),
        ({"Colour": "red"}, "Colour"),
    ],
)
def test_a_wrong_registration_is_refused_with_the_field_named(
    empty: Client, change: dict[str, object], word: str
) -> None:
    right = {"Name": "product", "Addr": "127.0.0.1:80", "HealthCheck": "http://127.0.0.1/"}
    with pytest.raises(RpcFailed, match=word) as failed:
        empty.call("Register", {**right, **change})
    assert failed.value.code == -32602
    assert empty.call("Instances") == []


def test_dialect_one_as_sent_by_go(registry: Registry, service: Service) -> None:
    with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as sock, sock.makefile("rb") as lines:
        registration = json.dumps(
            service.registration("product", Addr={"IP": "127.0.0.1", "Port": service.port, "Zone": ""})
        )
        sock.sendall(b'{"method":"Discovery.Register","params":[%b],"id":0}\n' % registration.encode())
        assert json.loads(lines.readline())["error"] is None
        sock.sendall(b'{"method":"Discovery.Get","params":["product"],"id":1}\n')
        expected = b'{"id":1,"result":{"IP":"127.0.0.1","Port":%d,"Zone":""},"error":null}\n' % service.port
        assert lines.readline() == expected
        sock.sendall(b'{"method":"Discovery.Get","params":["nobody"],"id":2}\n')
        assert json.loads(lines.readline()) == {"id": 2, "result": None, "error": "nobody: no instance is registered"}


def test_counters_are_in_the_status_when_asked_for(client: Client, service: Service) -> None:
    client.call("Register", service.registration("product", **QUICK))
    for _ in range(3):
        client.get("product")
    client.get("nobody")
    client.call("Watch", "product")
    with pytest.raises(RpcFailed):
        client.call("Watch", "product", 10**9)
    with pytest.raises(RpcFailed):
        client.call("Nonsense")
    assert "Counters" not in client.call("Status")

    def calls() -> dict[str, dict[str, int]]:
        counts = client.call("Status", True)["Counters"]["Calls"]
        return {one["Method"]: one["Results"] for one in counts if one["Method"] != "Discovery.Status"}

    assert calls() == {
        "Discovery.Get": {"ok": 3, "not_found": 1},
        "Discovery.Register": {"ok": 1},
        "Discovery.Watch": {"ok": 1, "compacted": 1},
        "unknown": {"method_not_found": 1},
    }
    request = '{"jsonrpc":"2.0","method":"Discovery.Get","params":["product"],"id":1}'
    client.sock.sendall(f"{request}\n{request}\n[{request},{request}]\n".encode())
    for _ in range(3):
        client.read()
    assert calls()["Discovery.Get"] == {"ok": 7, "not_found": 1}
    eventually(lambda: service.requests >= 3, what="three probes")
    (probes,) = client.call("Status", {"Counters": True})["Counters"]["Probes"]
    assert probes["Service"] == "product"
    assert probes["Results"]["pass"] >= 2
    assert sum(probes["Seconds"]["Counts"]) == sum(probes["Results"].values())
    with pytest.raises(RpcFailed, match=r"."):
        client.call("Status", 1, 2)


def test_watchers_get_the_reason_why_an_instance_does_not_pass_and_each_new_reason(
    registry: Registry, client: Client, service: Service
) -> None:
    """Once for each reason, however often it is probed."""
    service.status = 404
    watcher = registry.client()
    watcher.call("Watch", "product")
    id_ = client.call("Register", service.registration("product", Interval="50ms"))
    (registered, failing) = (watcher.notice()["Instance"] for _ in range(2))
    assert (registered["State"], registered["Output"]) == ("starting", "")
    assert (failing["State"], failing["Output"], failing["Since"]) == (
        "starting",
        "404 Not Found: as you see",
        registered["Since"],
    )
    requests = service.requests
    eventually(lambda: service.requests >= requests + 3, what="three more probes")
    service.status = 503
    assert watcher.notice()["Instance"]["Output"] == "503 Service Unavailable: as you see"
    service.status = 200
    assert watcher.notice()["Instance"]["State"] == "passing"
    assert client.state(id_) == "passing"


def test_a_client_behind_a_relay_gets_the_host_that_it_reaches_in_place_of_loopback(
    registry: Registry, client: Client, service: Service
) -> None:
    """`Discovery.Via` changes the answers of its connection alone, and only addresses in them."""
    client.call(
        "Register", service.registration("product", Meta={"IP": "127.0.0.1", "note": '"IP":"127.0.0.1","Port":1'})
    )
    relayed, address = registry.ready(), {"IP": "172.18.0.1", "Port": service.port, "Zone": ""}
    with pytest.raises(RpcFailed, match="Host: expected an IP address, got 'gateway'"):
        relayed.call("Via", "gateway")
    assert relayed.call("Via", {"Host": "172.18.0.1"}) is True
    assert relayed.call("Get", "product") == relayed.call("Get", {"Name": "product"}) == address
    relayed.sock.sendall(b'{"method":"Discovery.Get","params":["product"],"id":7}\n')
    assert relayed.read() == {"id": 7, "result": address, "error": None}
    for listed in (
        relayed.call("Instances", "product"),
        relayed.call("Instances"),
        relayed.call("Wait", "product", 0)["Instances"],
        relayed.call("Watch", "product")["Instances"],
    ):
        assert [one["Addr"]["IP"] for one in listed] == ["172.18.0.1"]
        assert listed[0]["Meta"] == {"IP": "127.0.0.1", "note": '"IP":"127.0.0.1","Port":1'}
    client.call("Maintenance", listed[0]["Uuid"], True, "")
    assert relayed.notice()["Instance"]["Addr"]["IP"] == "172.18.0.1"
    client.call("Maintenance", listed[0]["Uuid"], False, "")
    assert client.call("Get", "product")["IP"] == "127.0.0.1"
    assert client.call("Instances", "product")[0]["Addr"]["IP"] == "127.0.0.1"
