"""Registrations survive while the registry, Redis or instances are killed, emptied or stopped."""

import json
import signal
import time
from functools import partial

import pytest

from minikube import NotFound, blocking
from tests.eventually import eventually
from tests.integration.registry.registry_process import Client, Registry, RpcFailed, Service, services
from tests.redis_server import RedisServer

QUICK = {"Interval": "200ms", "Timeout": "5s"}
AT_ONCE_S = 10
"""Well below any client's time-out; the usual second or two is measured in tests/benchmarks."""
STORE_UNAVAILABLE = -32010


@pytest.fixture
def client(registry: Registry) -> Client:
    return registry.ready()


def refused(client: Client, method: str, *params: object) -> float:
    """Return how many seconds it took until the write was refused because Redis is down."""
    began = time.monotonic()
    with pytest.raises(RpcFailed) as failed:
        client.call(method, *params)
    assert failed.value.code == STORE_UNAVAILABLE, failed.value
    return time.monotonic() - began


def all_probed_again(made: list[Service], before: list[int]) -> bool:
    return all(one.requests > was + 1 for one, was in zip(made, before, strict=True))


def store_is(client: Client, state: str) -> bool:
    return bool(client.call("Status")["Store"]["State"] == state)


def test_a_killed_registry_has_all_registrations_after_its_restart(
    registry: Registry, client: Client, service: Service
) -> None:
    passing = client.call("Register", service.registration("product"))
    with services(1) as (dead,):
        critical = client.call("Register", dead.registration("order", **QUICK))
    eventually(lambda: client.state(critical) == "critical")
    kept = client.call("Register", {"Name": "x", "Addr": "127.0.0.1:1", "HealthCheck": "tcp://127.0.0.1:1"})
    client.call("Maintenance", passing, True, "")
    client.call("Maintenance", passing, False, "")
    revision = client.call("Status")["Revision"]
    registry.kill()
    began = time.monotonic()
    again = registry.start().ready()
    assert again.get("product") == service.port
    assert time.monotonic() - began < AT_ONCE_S
    states = {one["Uuid"]: one["State"] for one in again.call("Instances")}
    assert states == {passing: "passing", critical: "critical", kept: "starting"}
    assert again.call("Status")["Revision"] >= revision
    watcher = registry.client()
    assert watcher.call("Watch", "*", revision)["Instances"] is None, "a watcher resumes across the kill"


@pytest.mark.parametrize("how", ["flushed", "killed and emptied", "killed"])
def test_registrations_are_restored_when_redis_comes_back_empty(
    redis_server: RedisServer, registry: Registry, client: Client, service: Service, how: str
) -> None:
    id_ = client.call("Register", service.registration("product"))
    revision = client.call("Status")["Revision"]
    watcher = registry.client()
    watcher.call("Watch", "*")
    if how == "flushed":
        with redis_server.client() as redis:
            redis.flushall()
    else:
        redis_server.kill()
        eventually(lambda: store_is(client, "down"))
        assert client.get("product") == service.port
        assert client.call("Status")["Stale"] is True
        assert refused(client, "Register", service.registration("order")) < AT_ONCE_S
        assert client.call("Renew", id_) is True
        if how == "killed and emptied":
            for path in (redis_server.directory / "appendonlydir").iterdir():
                path.unlink()
        redis_server.start()
    with redis_server.client() as redis:
        key = f"{{minikube}}:instance:product:{id_}"
        eventually(lambda: redis.exists(key), what="the instance is back in Redis")
    eventually(lambda: store_is(client, "ok"))
    assert client.get("product") == service.port
    assert client.call("Status")["Revision"] >= revision
    with services(1) as (late,):
        client.call("Register", late.registration("order"))
        notices = [watcher.notice(), watcher.notice()]
        assert [one["Instance"]["Name"] for one in notices] == ["order", "order"], "watchers get no other change"
        assert notices[0]["Revision"] > revision
    registry.kill()
    again = registry.start().ready()
    assert again.get("product") == service.port, "the restored data is complete"


def test_answers_from_memory_are_marked_stale_in_both_dialects(
    redis_server: RedisServer, registry: Registry, client: Client, service: Service
) -> None:
    client.call("Register", service.registration("product"))
    calls = [
        ("Discovery.Get", ["product"]),
        ("Discovery.Instances", ["product"]),
        ("Discovery.Services", [None]),
        ("Discovery.Wait", ["product", 0, 0]),
    ]
    lines = [json.dumps({"method": method, "params": params, "id": 1}) for method, params in calls]
    lines += [json.dumps({"method": method, "params": params, "id": 1, "jsonrpc": "2.0"}) for method, params in calls]
    lines.append(json.dumps({"method": "Discovery.Watch", "params": ["product"], "id": 1, "jsonrpc": "2.0"}))

    def answers() -> list[dict[str, object]]:
        talk = registry.client()
        talk.sock.sendall("".join(f"{line}\n" for line in lines).encode())
        return [talk.read() for _ in lines]

    assert not any("stale" in answer for answer in answers())
    redis_server.kill()
    eventually(lambda: store_is(client, "down"))
    with blocking.open_registry(f"127.0.0.1:{registry.port}") as sdk:
        for answer in answers():
            assert answer["stale"] is True
            assert "product" in json.dumps(answer) or answer["result"] == {
                "IP": "127.0.0.1",
                "Port": service.port,
                "Zone": "",
            }
        assert sdk.get("product").Port == service.port
        assert sdk.stale
        with pytest.raises(NotFound, match="as far as is remembered"):
            sdk.get("nobody")
        redis_server.start()
        eventually(lambda: store_is(client, "ok"))
        assert not any("stale" in answer for answer in answers())
        sdk.get("product")
        assert not sdk.stale


def test_a_paused_redis_delays_no_lookup(redis_server: RedisServer, client: Client, service: Service) -> None:
    id_ = client.call("Register", service.registration("product"))
    redis_server.pause()
    try:
        late = {"Name": "late", "Addr": "127.0.0.1:1", "HealthCheck": "ttl:"}
        for key, method, what in (("write", "Register", late), ("read", "Get", "product")):
            request = {"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": [what], "id": key}
            client.sock.sendall(json.dumps(request).encode() + b"\n")
        read, written = client.read(), client.read()
        assert (read["id"], read["result"]["Port"]) == ("read", service.port), "the lookup does not wait for the write"
        assert (written["id"], written["error"]["code"]) == ("write", STORE_UNAVAILABLE)
        assert refused(client, "Deregister", id_) < AT_ONCE_S
        assert store_is(client, "down")
    finally:
        redis_server.resume()
    eventually(lambda: store_is(client, "ok"))
    assert client.get("product") == service.port
    assert [one["Name"] for one in client.call("Instances")] == ["product"], "a refused write is not done later"


def test_no_state_changes_while_redis_is_down(redis_server: RedisServer, client: Client) -> None:
    with services(1) as (service,):
        id_ = client.call("Register", service.registration("product", **QUICK))
        redis_server.kill()
        eventually(lambda: store_is(client, "down"))
    eventually(lambda: "refused" in client.call("Instances")[0]["Output"])
    assert client.state(id_) == "passing", "no instance is critical while Redis is down"
    redis_server.start()
    eventually(lambda: client.state(id_) == "critical")


@pytest.mark.parametrize("command", ["CONFIG SET maxmemory 1", "REPLICAOF 127.0.0.1 1"])
def test_a_redis_that_refuses_writes_counts_as_down(
    redis_server: RedisServer, client: Client, service: Service, command: str
) -> None:
    client.call("Register", service.registration("product"))
    with redis_server.client() as redis:
        redis.execute_command(*command.split())
        refused(client, "Register", service.registration("order"))
        assert client.get("product") == service.port
        eventually(lambda: store_is(client, "down"))
        redis.config_set("maxmemory", 0)
        redis.replicaof("NO", "ONE")
    eventually(lambda: store_is(client, "ok"))
    client.call("Register", service.registration("order"))
    assert client.get("order") == service.port


def test_a_paused_registry_makes_no_instance_critical(registry: Registry, client: Client) -> None:
    with services(4) as made:
        for number, one in enumerate(made):
            client.call("Register", one.registration(f"product-{number}", Interval="200ms", Timeout="1s"))
        watcher = registry.client()
        watcher.call("Watch", "*")
        revision = client.call("Status")["Revision"]
        for _ in range(2):
            registry.signal(signal.SIGSTOP)
            time.sleep(1.5)
            registry.signal(signal.SIGCONT)
            before = [one.requests for one in made]
            eventually(partial(all_probed_again, made, before))
        assert client.call("Status")["Revision"] == revision


def test_a_mass_failure_is_probed_once_more_first(client: Client) -> None:
    with services(4) as made:
        ids = [client.call("Register", one.registration("product", Interval="1s", Timeout="500ms")) for one in made]
        for one in made:
            one.hang()
        requests = {id_: one.requests for id_, one in zip(ids, made, strict=True)}
        failure = eventually(lambda: client.call("Status")["LastDoubt"]["Detail"])
        assert "4 of 4" in failure or "3 of" in failure
        eventually(lambda: all(client.state(id_) == "critical" for id_ in ids))
        for id_, one in zip(ids, made, strict=True):
            assert one.requests - requests[id_] >= 3, "each was probed once more than its time-outs"
        for one in made:
            one.release()
        eventually(lambda: all(client.state(id_) == "passing" for id_ in ids))
        eventually(lambda: not client.call("Status")["Doubt"])
        status = client.call("Status")
        assert "fell silent together" in status["LastDoubt"]["Detail"], "a mass failure that is over is still shown"


def test_registries_agree_and_take_over_from_each_other(
    redis_server: RedisServer, registry: Registry, client: Client
) -> None:
    other = Registry(redis_server.url)
    try:
        second = other.start().ready()
        eventually(lambda: len(client.call("Status")["Nodes"]) == len(second.call("Status")["Nodes"]) == 2)
        with services(8) as made:
            ids = [client.call("Register", one.registration("product", **QUICK)) for one in made]
            eventually(lambda: len([1 for one in second.call("Instances") if one["State"] == "passing"]) == 8)
            watcher = registry.client()
            start = watcher.call("Watch", "*")["Revision"]
            assert second.call("Deregister", ids[0]) is True
            notice = watcher.notice()
            assert (notice["Kind"], notice["Instance"]["Uuid"], notice["Revision"]) == ("gone", ids[0], start + 1)
            assert client.call("Deregister", ids[0]) is False
            third = client.call("Register", made[0].registration("product"))
            assert second.call("Renew", third) is True, "every registry knows what one acknowledged"
            other.kill()
            eventually(lambda: len(client.call("Status")["Nodes"]) == 1)
            for one in made:
                one.status = 500
            eventually(lambda: client.get("product") == 0, what="the dead registry's share is probed")
    finally:
        other.close()


def test_a_lookup_before_redis_was_read_is_unavailable_and_not_not_found(redis_server: RedisServer) -> None:
    redis_server.kill()
    registry = Registry(redis_server.url)
    try:
        client = registry.start().client()
        refused(client, "Get", "product")
        store = client.call("Status")["Store"]
        assert (store["State"], store["Loaded"]) == ("down", False), "by this the supervisor knows that lookups fail"
        redis_server.start()
        eventually(lambda: store_is(client, "ok"))
        assert client.get("product") == 0
    finally:
        registry.close()
