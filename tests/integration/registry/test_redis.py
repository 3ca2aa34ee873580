"""The registry with a Redis that is full, needs a password, holds foreign values, is behind TLS, or is replicated."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from minikube.registry.redis.codec import Keys
from minikube.registry.redis.commands import RedisCommands
from minikube.registry.redis.connect import RedisConnector
from tests.certificates import make_certificates
from tests.eventually import eventually
from tests.integration.registry.registry_process import Client, RpcFailed, Service, running, services, store_detail
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.tls_front import tls_front

STORE_UNAVAILABLE = -32010
SENTINEL_S = 90
"""Sentinels look for replicas every 10 s, and try a failover again after some seconds."""


def is_refused(client: Client, registration: Mapping[str, object]) -> bool:
    """Return whether a write is refused because Redis is down; raise any other error."""
    try:
        client.call("Register", registration)
    except RpcFailed as error:
        if error.code != STORE_UNAVAILABLE:
            raise
        return True
    return False


def fill(path: Path) -> None:
    """Write to `path` until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_stops_writes_only(small_disk: Path, service: Service) -> None:
    with RedisServer(small_disk) as server, running(server.url) as (_, client):
        id_ = client.call("Register", service.registration("product"))
        filler = small_disk / "filler"
        fill(filler)
        kept = service.registration("order", Meta={"more": "x" * 1000})
        eventually(lambda: is_refused(client, kept), what="a write is refused")
        assert client.get("product") == service.port
        assert "MISCONF" in eventually(lambda: store_detail(client))
        filler.unlink()
        eventually(lambda: not store_detail(client), what="Redis takes writes again")
        client.call("Register", kept)
        assert client.get("order") == service.port
        server.kill()
        server.start()
        eventually(lambda: not store_detail(client))
        assert client.state(id_) == "passing"


def test_a_password_set_later_is_named_as_the_reason_and_recovered_from(
    redis_server: RedisServer, service: Service
) -> None:
    with running(redis_server.url) as (_, client), redis_server.client() as admin:
        id_ = client.call("Register", service.registration("product"))
        admin.config_set("requirepass", "other")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        eventually(lambda: "uthentication" in store_detail(client), what="the reason")
        assert is_refused(client, service.registration("order"))
        assert client.get("product") == service.port
        admin.config_set("requirepass", "")
        eventually(lambda: not store_detail(client))
        assert client.state(id_) == "passing"


@pytest.mark.parametrize("key", ["registrations", "addresses", "revision", "changes", "epoch", "nodes"])
def test_a_foreign_value_under_a_key_of_the_registry_is_named(
    redis_server: RedisServer, service: Service, key: str
) -> None:
    with running(redis_server.url) as (registry, client), redis_server.client() as admin:
        id_ = client.call("Register", service.registration("product"))
        with admin.pipeline() as both:
            both.delete(f"{{minikube}}:{key}")
            both.set(f"{{minikube}}:{key}", "foreign")
            both.execute()
        eventually(lambda: is_refused(client, service.registration("order")))
        assert f"{{minikube}}:{key}" in eventually(lambda: store_detail(client))
        assert "delete it" in store_detail(client)
        assert client.get("product") == service.port
        admin.delete(f"{{minikube}}:{key}")
        eventually(lambda: not store_detail(client))
        client.call("Register", service.registration("order"))
        assert client.get("order") == service.port
        assert client.state(id_) == "passing"
        registry.kill()
        assert registry.start().ready().state(id_) == "passing", "the restored data is complete"


def test_an_instance_hash_of_another_type_is_replaced(redis_server: RedisServer, service: Service) -> None:
    with running(redis_server.url) as (_, client), redis_server.client() as admin:
        admin.set("{minikube}:instance:product:0badcafe", "foreign")
        client.call("Register", service.registration("product", Uuid="0badcafe"))
        assert admin.hget("{minikube}:instance:product:0badcafe", "name") == "product"


@pytest.fixture
def locked_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that needs a user and a password, both with characters that a URL must quote."""
    acl = ("--user", "shop@home", "on", ">p:w/d%", "~{minikube}:*", "&*", "+@all", "--user", "default", "off")
    with RedisServer(tmp_path_factory.mktemp("locked"), options=acl, user="shop%40home:p%3Aw%2Fd%25") as server:
        yield server


def test_a_unix_socket_with_user_and_password(locked_redis: RedisServer, service: Service) -> None:
    with running(locked_redis.url) as (_, client):
        client.call("Register", service.registration("product"))
        assert client.get("product") == service.port
    wrong = locked_redis.url.replace("p%3Aw", "wrong")
    with running(wrong, ready=False) as (_, client):
        reason = eventually(lambda: store_detail(client) if store_detail(client) != "connecting" else "")
        assert "invalid username-password pair" in reason
        assert "wrong" not in reason
        assert is_refused(client, service.registration("product"))


def test_tls_with_user_and_password(
    locked_redis: RedisServer, service: Service, tmp_path: Path, need: Callable[[str], str]
) -> None:
    files = make_certificates(tmp_path, need("openssl"))
    with tls_front(locked_redis.socket, files) as port:
        base = f"rediss://{locked_redis.user}@127.0.0.1:{port}/0"
        with running(f"{base}?ssl_ca_certs={files.ca}") as (_, client):
            client.call("Register", service.registration("product"))
            assert client.get("product") == service.port
        with running(base, ready=False) as (_, client):
            reason = eventually(lambda: store_detail(client) if store_detail(client) != "connecting" else "")
            assert "certificate verify failed" in reason
            assert "p%3Aw" not in reason


def test_a_refused_wait_fails_the_write_and_the_registry_goes_on(service: Service, tmp_path: Path) -> None:
    """An ACL can forbid WAIT, and a master that became a replica refuses it."""
    (tmp_path / "one").mkdir()
    with RedisServer(tmp_path / "one", port=free_port()) as master, master.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "-wait")
        admin.config_set("min-replicas-to-write", "1")
        (tmp_path / "two").mkdir()
        replica = ("--replicaof", "127.0.0.1", str(master.port))
        with RedisServer(tmp_path / "two", port=free_port(), options=replica):
            eventually(lambda: admin.info("replication").get("min_slaves_good_slaves"), what="the replica is there")
            with running(master.url) as (registry, client):
                process = registry.process
                with pytest.raises(RpcFailed, match=r"store unavailable: .*'wait'"):
                    client.call("Register", service.registration("product"))
                assert client.call("Status")["Node"]
                assert process is not None
                assert process.poll() is None


def test_three_registries_agree_and_the_last_one_takes_over(redis_server: RedisServer) -> None:
    with ExitStack() as stack:
        registries, clients = zip(*[stack.enter_context(running(redis_server.url)) for _ in range(3)], strict=True)
        for client in clients:
            eventually(lambda client=client: len(client.call("Status")["Nodes"]) == 3)  # type: ignore[misc]
        made = stack.enter_context(services(9))
        watchers = [registry.client() for registry in registries]
        for watcher in watchers:
            watcher.call("Watch", "*")
        ids = [
            clients[index % 3].call("Register", one.registration("product", Interval="200ms"))
            for index, one in enumerate(made)
        ]
        notices = [[watcher.notice() for _ in range(18)] for watcher in watchers]
        changes = [
            [(one["Revision"], one["Kind"], one["Instance"]["Uuid"]) for one in received] for received in notices
        ]
        assert changes[0] == changes[1] == changes[2], "every registry sends the same changes in the same order"
        registries[0].kill()
        registries[1].kill()
        last = clients[2]
        eventually(lambda: len(last.call("Status")["Nodes"]) == 1, what="the killed registries count as dead")
        assert all(last.state(id_) == "passing" for id_ in ids), "no instance is removed because its registry died"
        for one in made:
            one.status = 500
        eventually(lambda: last.get("product") == 0, what="the last registry probes all")


def test_renewals_are_shared_and_removed_with_their_instance(redis_server: RedisServer, service: Service) -> None:
    with (
        running(redis_server.url) as (_, one),
        running(redis_server.url) as (_, two),
        redis_server.client() as admin,
    ):
        both = (one, two)
        for client in both:
            eventually(lambda client=client: len(client.call("Status")["Nodes"]) == 2)  # type: ignore[misc]
        leased = {"Name": "shop", "HealthCheck": "ttl:", "Lease": 60}
        ids = [one.call("Register", {**leased, "Addr": f"127.0.0.1:{7100 + number}"}) for number in range(6)]
        probed = one.call("Register", service.registration("product"))
        for client in both:
            assert all(client.call("Renew", id_) for id_ in [*ids, probed])
        assert admin.hgetall("{minikube}:leases") == dict.fromkeys(ids, "2"), "a probed instance has no lease"
        for client, id_ in zip(both * 3, ids, strict=True):
            assert client.call("Deregister", id_)
        assert admin.hlen("{minikube}:leases") == 0


def test_a_renewal_after_the_removal_leaves_nothing(redis_server: RedisServer) -> None:
    """It may come from a registry that has not read of the removal yet."""
    with running(redis_server.url) as (_, one), redis_server.client() as admin:
        id_ = one.call("Register", {"Name": "shop", "Addr": "127.0.0.1:7100", "HealthCheck": "ttl:"})
        commands = RedisCommands(RedisConnector(redis_server.url).open(5), Keys("{minikube}"))
        commands.load_scripts()
        commands.execute(*commands.renewal_command(id_))
        assert admin.hget("{minikube}:leases", id_) == "1"
        assert one.call("Deregister", id_)
        commands.execute(*commands.renewal_command(id_))
        assert not admin.exists("{minikube}:leases")
        commands.close()


class Sentinels:
    """A master, a replica and three sentinels on ports of their own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.master = stack.enter_context(self._redis(directory / "one"))
        self.replica = stack.enter_context(
            self._redis(directory / "two", "--replicaof", "127.0.0.1", str(self.master.port))
        )
        self.ports = []
        for number in range(3):
            port = free_port()
            place = directory / f"sentinel-{number}"
            place.mkdir()
            settings = place / "sentinel.conf"
            settings.write_text(
                f"sentinel monitor shop 127.0.0.1 {self.master.port} 2\n"
                "sentinel down-after-milliseconds shop 500\n"
                "sentinel failover-timeout shop 3000\n"
            )
            stack.enter_context(RedisServer(place, port=port, mode=(str(settings), "--sentinel")))
            self.ports.append(port)

    @staticmethod
    def _redis(directory: Path, *more: str) -> RedisServer:
        directory.mkdir()
        safe = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2", "--repl-diskless-sync-delay", "0")
        return RedisServer(directory, port=free_port(), options=(*safe, *more))

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/shop/0"

    @staticmethod
    def leads(server: RedisServer) -> bool:
        """Return whether the server is a master by now."""
        with server.client() as client:
            return bool(client.role()[0] == "master")

    def ready(self) -> bool:
        """Return whether the sentinels know each other and the replica, so that a failover can happen."""
        for port in self.ports:
            with redis.Redis(port=port, decode_responses=True) as sentinel:
                state = sentinel.sentinel_master("shop")
                if state["num-other-sentinels"] != 2 or state["num-slaves"] != 1:
                    return False
        with self.master.client() as master:
            return bool(master.info("replication").get("min_slaves_good_slaves"))


@pytest.mark.timeout(600)
def test_a_failover_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sentinels = Sentinels(tmp_path, stack)
        eventually(sentinels.ready, SENTINEL_S, what="the sentinels know each other")
        registry, client = stack.enter_context(running(sentinels.url))
        acknowledged = []
        numbers = itertools.count(10_000)

        def register() -> bool:
            id_ = f"job-{next(numbers)}"
            one = {"Name": "job", "Uuid": id_, "Addr": f"127.0.0.1:{id_[4:]}", "HealthCheck": "ttl:", "Lease": "60s"}
            if is_refused(client, one):
                return False
            acknowledged.append(id_)
            return True

        assert all(register() for _ in range(40))
        sentinels.replica.pause()
        assert not register(), "a write that only the master has is not acknowledged"
        sentinels.replica.resume()
        eventually(lambda: not store_detail(client))
        eventually(register)
        sentinels.master.kill()
        while register():  # a write that is under way when the master dies may still be answered
            pass
        eventually(lambda: sentinels.leads(sentinels.replica), SENTINEL_S, what="the replica becomes the master")
        sentinels.master.start()
        with sentinels.master.client() as old_master:
            old_master.replicaof("127.0.0.1", str(sentinels.replica.port))
        eventually(register, SENTINEL_S, what="the new master has enough replicas")
        assert all(register() for _ in range(20))
        # The registry would restore everything from its memory: kill it, so that only the new master's own data counts.
        registry.kill()
        again = registry.start().ready()
        known = {one["Uuid"] for one in again.call("Instances")}
        assert set(acknowledged) <= known
        with sentinels.replica.client() as new_master:
            assert set(acknowledged) <= set(new_master.hkeys("{minikube}:registrations"))
