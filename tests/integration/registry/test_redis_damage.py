"""What Redis loses piece by piece is written again; what it did not lose is left alone. Least rights and refused writes."""

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from minikube.errors import Unavailable
from minikube.registry.redis.shared_hash import SharedHash
from tests.eventually import eventually
from tests.integration.registry.registry_process import Client, RpcFailed, Service, running, services, store_detail
from tests.ports import free_port
from tests.redis_server import RedisServer

KEY = "{minikube}:instance:product:0badcafe"
REPAIRED_S = 5.0


def dump(admin: Any) -> dict[str, Any]:
    """Return the hashes of instances and the registry's own tables."""
    keys = ["{minikube}:registrations", "{minikube}:addresses", *admin.scan_iter("{minikube}:instance:*")]
    return {key: admin.hgetall(key) if admin.type(key) == "hash" else admin.type(key) for key in keys}


DAMAGES: dict[str, Callable[[Any], object]] = {
    "a deleted hash": lambda admin: admin.delete(KEY),
    "an expired hash": lambda admin: admin.pexpire(KEY, 1),
    "a hash of another type": lambda admin: admin.set(KEY, "foreign"),
    "a lost field": lambda admin: admin.hdel(KEY, "addr"),
    "another address": lambda admin: admin.hset(KEY, "addr", "127.0.0.1:6666"),
    "a lost address": lambda admin: admin.hdel("{minikube}:addresses", *admin.hkeys("{minikube}:addresses")[:1]),
    "all addresses": lambda admin: admin.delete("{minikube}:addresses"),
    "an address of another id": lambda admin: admin.hset(
        "{minikube}:addresses", admin.hkeys("{minikube}:addresses")[0], "other"
    ),
    "a lost registration": lambda admin: admin.hdel("{minikube}:registrations", "0badcafe"),
    "an unreadable registration": lambda admin: admin.hset("{minikube}:registrations", "0badcafe", "nonsense"),
    "all registrations": lambda admin: admin.delete("{minikube}:registrations"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_lost_is_written_again_and_nothing_else_changes(
    redis_server: RedisServer, service: Service, damage: str
) -> None:
    with running(redis_server.url) as (registry, client), redis_server.client() as admin:
        client.call("Register", service.registration("product", Uuid="0badcafe"))
        client.call("Register", {"Name": "job", "Addr": "127.0.0.1:7100", "HealthCheck": "ttl:", "Lease": 60})
        critical = client.call("Register", {"Name": "job", "Addr": "127.0.0.1:1", "HealthCheck": "ttl:", "Lease": 60})
        client.call("Renew", critical, "critical", "why")
        before, revision = dump(admin), client.call("Status")["Revision"]
        DAMAGES[damage](admin)
        time.sleep(0.005)
        assert dump(admin) != before
        eventually(lambda: dump(admin) == before, REPAIRED_S, what="it is written again")
        assert client.call("Status")["Revision"] == revision, "no watcher is woken, and no history begins"
        assert client.get("product") == service.port
        assert client.call("Register", service.registration("product")) == "0badcafe"
        registry.kill()
        assert registry.start().ready().get("product") == service.port


def damage_changes(admin: Any, **fields: Any) -> None:
    """Add an entry of another program to the change log, as the next revision."""
    revision = admin.incr("{minikube}:revision")
    admin.xadd("{minikube}:changes", fields, id=f"{revision}-0")


VALUES: dict[str, Callable[[Any], object]] = {
    "another node's heartbeat": lambda admin: admin.hset("{minikube}:nodes", "other", "abc"),
    "all heartbeats": lambda admin: admin.eval(
        "for _, node in ipairs(redis.call('HKEYS', KEYS[1])) do redis.call('HSET', KEYS[1], node, 'abc') end",
        *(1, "{minikube}:nodes"),
    ),
    "the name of a node": lambda admin: admin.hset("{minikube}:nodes", b"\xff", "1"),
    "a shared lease": lambda admin: admin.hset("{minikube}:leases", "0badcafe", "abc"),
    "the number of the epoch": lambda admin: admin.hset("{minikube}:epoch", "n", "abc"),
    "the id of the epoch": lambda admin: admin.hset("{minikube}:epoch", "id", b"\xff\xfe"),
    "the floor of the epoch": lambda admin: admin.hset("{minikube}:epoch", "floor", "abc"),
    "a change without its fields": lambda admin: damage_changes(admin, a="b"),
    "a change of other bytes": lambda admin: damage_changes(admin, kind=b"\xff", data=b"\xff", nonce=b"\xff"),
    "a change far ahead": lambda admin: admin.xadd(
        "{minikube}:changes", {"kind": "put"}, id=f"{int(admin.get('{minikube}:revision')) + 10**9}-7"
    ),
    "a token": lambda admin: admin.hset("{minikube}:tokens", b"\xff", b"\xff"),
}


def test_no_damaged_value_ends_the_registry_and_writes_go_on(redis_server: RedisServer, service: Service) -> None:
    """Also after a restart, which reads the damaged values before anything else."""
    with running(redis_server.url) as (registry, client), redis_server.client() as admin:
        client.call("Register", service.registration("product", Uuid="0badcafe"))
        for number, (what, damage) in enumerate(VALUES.items()):
            damage(admin)
            again = service.registration("order", Tags=[str(number)], Uuid="order")
            eventually(partial(_is_taken, client, again), what=f"a write after damage to {what}")
            assert client.get("product") == service.port
            eventually(lambda: not store_detail(client), what=f"Redis is well after damage to {what}")
        node = client.call("Status")["Node"]
        eventually(lambda: str(admin.hget("{minikube}:nodes", node)).isdigit(), what="it counts its heartbeats again")
        assert store_detail(client) == ""
        assert registry.process is not None
        assert registry.process.poll() is None
        for damage in VALUES.values():
            damage(admin)
        registry.kill()
        client = registry.start().ready()
        assert client.get("product") == service.port
        eventually(
            lambda: _is_taken(client, service.registration("order", Uuid="order")), what="a write after the restart"
        )


def _is_taken(client: Client, registration: dict[str, Any]) -> bool:
    try:
        return bool(client.call("Register", registration))
    except RpcFailed:
        return False


def test_a_flush_of_everything_is_restored_as_a_whole(redis_server: RedisServer, service: Service) -> None:
    with running(redis_server.url) as (_, client), redis_server.client() as admin:
        client.call("Register", service.registration("product", Uuid="0badcafe"))
        before = dump(admin)
        admin.flushall()
        eventually(lambda: dump(admin) == before, REPAIRED_S)
        assert client.get("product") == service.port


def test_nothing_is_written_again_that_was_not_lost(
    redis_server: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two registries change the same instances all the time: what one has not read yet is not lost."""
    with running(redis_server.url) as (one, _), running(redis_server.url) as (two, _):
        until = time.monotonic() + 6

        def change(client: Client, shift: int) -> None:
            number = 0
            while time.monotonic() < until:
                number += 1
                id_, port = f"job-{number % 7}", 7000 + (number * shift) % 5
                job = {"Name": "job", "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:", "Lease": 60, "Uuid": id_}
                with contextlib.suppress(RpcFailed):
                    client.call("Register", job)
                    client.call("Maintenance", id_, number % 2 == 0)
                if number % 5 == 0:
                    client.call("Deregister", id_)

        threads = [
            threading.Thread(target=change, args=(one.client(), 1)),
            threading.Thread(target=change, args=(two.client(), 2)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(1.5)
    err = capfd.readouterr().err
    assert "written again" not in err
    assert "put back" not in err


def test_a_user_with_the_least_rights_is_enough(tmp_path: Path, service: Service) -> None:
    acl = ("--user", "mk", "on", ">pw", "~{minikube}:*", "+@all", "-@dangerous")
    with RedisServer(tmp_path, options=acl) as server, server.client() as admin:
        url = server.url.replace("unix://", "unix://mk:pw@")
        with running(url) as (registry, client):
            id_ = client.call("Register", service.registration("product", Uuid="0badcafe"))
            assert client.get("product") == service.port
            client.call("Maintenance", id_, True, "why")
            client.call("Maintenance", id_, False)
            admin.delete(KEY)
            eventually(lambda: admin.exists(KEY), REPAIRED_S, what="the hash is written again")
            admin.flushall()
            eventually(lambda: admin.exists(KEY), REPAIRED_S, what="everything is restored")
            eventually(lambda: not store_detail(client))
            registry.kill()
            again = registry.start().ready()
            assert again.get("product") == service.port
            assert again.call("Deregister", id_) is True


OUT_OF_MEMORY = (
    "OOM command not allowed when used memory > 'maxmemory'. — raise maxmemory in Redis, or free memory there"
)


@pytest.mark.parametrize("kind", ["string", "list"])
def test_a_key_of_another_program_in_place_of_the_tokens_is_named_with_what_to_do(
    redis_server: RedisServer, kind: str
) -> None:
    tokens = SharedHash(redis_server.url, "{minikube}", "tokens")
    told = r"\{minikube\}:tokens: another program has written it, .* remove it: redis-cli DEL '\{minikube\}:tokens'"
    with redis_server.client() as admin:
        admin.flushall()
        admin.set("{minikube}:tokens", "x") if kind == "string" else admin.rpush("{minikube}:tokens", "x")
        with pytest.raises(Unavailable, match=told):
            tokens.read()
        with pytest.raises(Unavailable, match=told):
            tokens.put({"a": "b"})
        admin.delete("{minikube}:tokens")
        assert tokens.read() == {}


def test_a_redis_without_memory_answers_lookups_also_after_a_restart(
    redis_server: RedisServer, service: Service
) -> None:
    with running(redis_server.url) as (registry, client), redis_server.client() as admin:
        id_ = client.call("Register", service.registration("product"))
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", "1")
        eventually(lambda: store_detail(client) == OUT_OF_MEMORY, what="the reason is told as Redis tells it")
        with pytest.raises(RpcFailed, match="store unavailable: OOM command not allowed") as refused:
            client.call("Register", service.registration("order"))
        assert refused.value.code == -32010
        registry.kill()
        again = registry.start().client()
        assert again.get("product") == service.port
        eventually(lambda: store_detail(again) == OUT_OF_MEMORY)
        assert again.call("Status")["Stale"] is True
        with pytest.raises(RpcFailed, match="store unavailable: OOM command not allowed"):
            again.call("Register", service.registration("order"))
        assert again.get("product") == service.port
        admin.config_set("maxmemory", "0")
        eventually(lambda: not store_detail(again), what="Redis takes writes again")
        assert again.call("Maintenance", id_, True, "") is True


def test_a_full_disk_answers_lookups_also_after_a_restart(small_disk: Path, service: Service) -> None:
    with RedisServer(small_disk) as server, running(server.url) as (registry, client):
        client.call("Register", service.registration("product"))
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

        def reason() -> str:
            with contextlib.suppress(RpcFailed):
                client.call("Register", service.registration("order", Meta={"more": "x" * 1000}))
            return store_detail(client)

        eventually(lambda: reason().startswith("MISCONF"))
        registry.kill()
        again = registry.start().client()
        assert again.get("product") == service.port
        eventually(lambda: store_detail(again).startswith("MISCONF"))
        filler.unlink()
        eventually(lambda: not store_detail(again), what="Redis takes writes again")


def test_a_read_only_replica_answers_lookups(tmp_path: Path, service: Service) -> None:
    with ExitStack() as stack:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        master = stack.enter_context(RedisServer(tmp_path / "one", port=free_port()))
        with running(master.url) as (_, client):
            client.call("Register", service.registration("product"))
        options = ("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
        replica = stack.enter_context(RedisServer(tmp_path / "two", port=free_port(), options=options))
        with replica.client() as admin, master.client() as writer:
            eventually(lambda: admin.exists("{minikube}:registrations"), what="the replica has the data")
            with running(replica.url, ready=False) as (_, client):
                assert client.get("product") == service.port
                eventually(lambda: "read only replica" in store_detail(client) and "script" not in store_detail(client))
                with running(master.url) as (_, other), services(1) as (late,):
                    other.call("Register", late.registration("order"))
                    eventually(lambda: client.get("order") == late.port, what="the replica's changes are followed")
                admin.execute_command("REPLICAOF", "NO", "ONE")
                eventually(lambda: not store_detail(client), what="it is a master by now")
                assert writer.ping()
                client.call("Register", service.registration("job"))


def test_a_redis_that_hangs_is_noticed_within_seconds(redis_server: RedisServer, service: Service) -> None:
    with running(redis_server.url) as (_, client):
        client.call("Register", service.registration("product"))
        redis_server.pause()
        try:
            reason = eventually(lambda: store_detail(client), 5, what="the hang is noticed")
            assert "Redis did not answer within 1.5 s" in reason
            status = client.call("Status")
            assert status["Stale"] is True
            client.sock.sendall(b'{"method":"Discovery.Get","params":["product"],"id":1}\n')
            assert client.read()["stale"] is True
        finally:
            redis_server.resume()
        eventually(lambda: not store_detail(client), 5, what="it answers again")


def test_a_redis_whose_socket_is_gone_is_named(redis_server: RedisServer, service: Service) -> None:
    """The connections that there are go on; a registry that starts later says which socket it cannot find."""
    with running(redis_server.url) as (registry, client):
        client.call("Register", service.registration("product"))
        redis_server.socket.unlink()
        assert client.call("Register", service.registration("order"))
        registry.kill()
        again = registry.start().client()
        reason = eventually(
            lambda: store_detail(again) if store_detail(again) != "connecting" else "", 5, what="the reason"
        )
        assert str(redis_server.socket) in reason
        with pytest.raises(RpcFailed, match=r"store unavailable: .*redis\.sock") as refused:
            again.call("Get", "product")
        assert refused.value.code == -32010, "it is not called not found"


def test_a_write_that_finds_redis_emptied_is_done_after_the_restoration(
    redis_server: RedisServer, service: Service
) -> None:
    with running(redis_server.url) as (_, client), redis_server.client() as admin:
        client.call("Register", service.registration("product"))
        admin.flushall()
        client.call("Register", service.registration("order"))
        assert len(admin.hvals("{minikube}:registrations")) == 2
