"""Who may change what in a registry: other users, reserved names, tokens, and what they are told."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import minikube
from minikube import blocking
from minikube.defaults import RELAY_SOURCE
from minikube.linux import processes
from minikube.project.registry_tokens import instance_token, run_token_id
from tests.eventually import eventually
from tests.integration.registry.registry_process import Client, Registry, RpcFailed
from tests.redis_server import RedisServer

NOBODY = 65534
SECRET = "5" * 64

UNAUTHORIZED, CONFLICT = -32001, -32009

RESERVED: dict[str, dict[str, Any]] = {
    "product": {"User": None, "Host": "127.0.0.1", "Port": 7070, "Instances": ["product1"]},
    "job": {"User": NOBODY, "Host": "127.0.0.1", "Port": 0, "Instances": ["job1"]},
}


@pytest.fixture
def supervised(redis_server: RedisServer) -> Iterator[Registry]:
    """A registry of a supervisor, which has reserved the names `product` and `job`."""
    made = Registry(redis_server.url, MINIKUBE_SUPERVISOR_TOKEN=SECRET)
    try:
        made.start()
        with_token(made, SECRET).call("Reserve", RESERVED, True, True)
        yield made
    finally:
        made.close()


CallAs = Callable[..., Any]


@pytest.fixture
def call_as(need: Callable[[str], str], as_root: None) -> CallAs:
    """Send calls with nc as another user, and return the result of the last, or raise its error."""
    nc = need("nc")

    def call_as(registry: Registry, uid: int, *calls: tuple[Any, ...]) -> Any:
        lines = [
            json.dumps({"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": params, "id": number})
            for number, (method, *params) in enumerate(calls)
        ]
        done = subprocess.run(
            [nc, "-N", "127.0.0.1", str(registry.port)],
            input="".join(line + "\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=30,
            user=uid,
            check=True,
        )
        replies = {reply["id"]: reply for reply in map(json.loads, done.stdout.splitlines())}
        last = replies[len(calls) - 1]
        if "error" in last:
            raise RpcFailed(last["error"]["code"], last["error"]["message"])
        return last["result"]

    return call_as


def with_token(registry: Registry, token: str) -> Client:
    client = registry.ready()
    client.call("Authenticate", token)
    return client


def ttl(name: str, port: int, **more: Any) -> dict[str, Any]:
    return {"Name": name, "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:", **more}


def refused(code: int, call: Callable[..., Any], *arguments: Any) -> str:
    """Return the message of a call that is refused with this code."""
    with pytest.raises(RpcFailed) as error:
        call(*arguments)
    assert error.value.code == code, error.value
    return str(error.value)


# ---------------------------------------------------------------- users


def test_another_user_may_look_up_and_change_nothing(registry: Registry, call_as: CallAs) -> None:
    client = registry.ready()
    id_ = client.call("Register", ttl("web", 8080))
    assert call_as(registry, NOBODY, ("Get", "web"))["Port"] == 8080
    for name in ("web", "new"):
        call = ("Register", ttl(name, 6666))
        assert refused(UNAUTHORIZED, call_as, registry, NOBODY, call).startswith("unauthorized: user 65534 may not")
    changes: list[tuple[Any, ...]] = [("Deregister", id_), ("Renew", id_), ("Maintenance", id_, True)]
    for change in changes:
        message = refused(CONFLICT, call_as, registry, NOBODY, change)
        assert f"({id_}) belongs to user {os.geteuid()}: user {NOBODY} may not change it" in message
    (entry,) = client.call("Instances")
    assert (entry["Uuid"], entry["Addr"]["Port"], entry["State"]) == (id_, 8080, "passing")
    assert client.call("Status")["Refused"] == 5


def test_only_the_registrys_user_and_root_see_the_output_of_checks(registry: Registry, call_as: CallAs) -> None:
    client = registry.ready()
    id_ = client.call("Register", ttl("web", 8080))
    client.call("Renew", id_, "passing", "secret")
    assert client.call("Instances", "web")[0]["Output"] == "secret"
    assert client.call("Watch", "web")["Instances"][0]["Output"] == "secret"
    reader = client.call("CreateToken", ["read"])["Token"]
    for names in (("web",), ()):
        assert call_as(registry, NOBODY, ("Instances", *names))[0]["Output"] == ""
        assert call_as(registry, NOBODY, ("Authenticate", reader), ("Instances", *names))[0]["Output"] == "secret"
    assert call_as(registry, NOBODY, ("Wait", "web", 0, 0))["Instances"][0]["Output"] == ""
    assert call_as(registry, NOBODY, ("Watch", "web"))["Instances"][0]["Output"] == ""


def test_changes_are_pushed_without_outputs_to_other_users(
    registry: Registry, need: Callable[[str], str], as_root: None
) -> None:
    client = registry.ready()
    id_ = client.call("Register", ttl("web", 8080))
    watch = json.dumps({"jsonrpc": "2.0", "method": "Discovery.Watch", "params": ["web"], "id": 1})
    pushed = []
    with subprocess.Popen(
        [need("nc"), "127.0.0.1", str(registry.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=NOBODY,
    ) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        watcher.stdin.write(watch + "\n")
        watcher.stdin.flush()
        watcher.stdout.readline()
        client.call("Watch", "web")
        client.call("Renew", id_, "critical", "secret")
        pushed.append(json.loads(watcher.stdout.readline())["params"]["Instance"])
        watcher.kill()
    assert (pushed[0]["State"], pushed[0]["Output"]) == ("critical", "")
    assert client.notice()["Instance"]["Output"] == "secret"


def test_a_client_that_closes_its_socket_after_sending_has_no_known_user(registry: Registry) -> None:
    client = registry.ready()
    registry.signal(19)  # SIGSTOP: the registry reads the call when the socket is closed
    try:
        line = json.dumps({"method": "Discovery.Register", "params": [ttl("web", 8080)], "id": 1})
        with socket.create_connection(("127.0.0.1", registry.port)) as sock:
            sock.sendall(line.encode() + b"\n")
    finally:
        registry.signal(18)
    eventually(lambda: client.call("Status")["Refused"] == 1, what="the registration was refused")
    assert client.call("Instances") == []


# ---------------------------------------------------------------- reserved names


def test_a_reserved_name_wants_the_token_of_its_instance(supervised: Registry, call_as: CallAs) -> None:
    own = instance_token(SECRET, "product", "product1")
    for registration in [ttl("product", 7070), ttl("product", 6666, Uuid="product1")]:
        assert "is a service of the manifest" in refused(
            UNAUTHORIZED, call_as, supervised, NOBODY, ("Register", registration)
        )
    registered = call_as(supervised, NOBODY, ("Authenticate", own), ("Register", ttl("product", 7070, Uuid="product1")))
    assert registered == "product1"
    assert call_as(supervised, NOBODY, ("Authenticate", own), ("Renew", "product1")) is True
    other = instance_token(SECRET, "job", "job1")
    assert "belongs to instance product1 of product" in refused(
        CONFLICT, call_as, supervised, NOBODY, ("Authenticate", other), ("Deregister", "product1")
    )
    assert "may not register it" in refused(
        UNAUTHORIZED, call_as, supervised, NOBODY, ("Authenticate", other), ("Register", ttl("product", 6666))
    )


def _ids(client: Client, name: str) -> list[str]:
    return [entry["Uuid"] for entry in client.call("Instances", name)]


@pytest.mark.parametrize("with_id", [True, False])
def test_an_instances_own_registration_replaces_a_stray_at_its_address(supervised: Registry, with_id: bool) -> None:
    """It gets its own id: the supervisor knows its instance by that."""
    stray = supervised.ready()
    assert stray.call("Register", ttl("product", 7070, Uuid="stray")) == "stray"
    own = with_token(supervised, instance_token(SECRET, "product", "product1"))
    id = own.call("Register", ttl("product", 7070, **({"Uuid": "product1"} if with_id else {})))
    assert id == "product1"
    assert _ids(own, "product") == [id]
    refused(CONFLICT, stray.call, "Register", ttl("product", 7070, Uuid="stray"))


def test_an_instance_that_names_no_id_is_registered_under_its_own_and_a_second_port_under_another(
    supervised: Registry,
) -> None:
    own = with_token(supervised, instance_token(SECRET, "product", "product1"))
    assert own.call("Register", ttl("product", 7070)) == "product1"
    second = own.call("Register", ttl("product", 7071))
    assert second != "product1"
    assert own.call("Register", ttl("product", 7070)) == "product1"
    assert own.call("Register", ttl("product", 7071)) == second
    assert sorted(_ids(own, "product")) == sorted(["product1", second])


def test_a_registration_with_an_instances_id_keeps_it_without_its_token(supervised: Registry) -> None:
    client = supervised.ready()
    client.call("Register", ttl("product", 7070, Uuid="stray"))
    assert client.call("Register", ttl("product", 7070, Uuid="product1")) == "product1"
    assert _ids(client, "product") == ["product1"]


def test_an_instance_of_another_user_replaces_a_stray_of_the_registrys_user(
    supervised: Registry, call_as: CallAs
) -> None:
    client = supervised.ready()
    client.call("Register", ttl("job", 7171, Uuid="stray"))
    own = ("Authenticate", instance_token(SECRET, "job", "job1"))
    assert call_as(supervised, NOBODY, own, ("Register", ttl("job", 7171, Uuid="job1"))) == "job1"
    assert _ids(client, "job") == ["job1"]


def test_an_instance_replaces_no_other_instance(supervised: Registry) -> None:
    both = {**RESERVED, "product": {**RESERVED["product"], "Instances": ["product1", "product2"]}}
    with_token(supervised, SECRET).call("Reserve", both, True, True)
    for number in (1, 2):
        own = with_token(supervised, instance_token(SECRET, "product", f"product{number}"))
        if number == 1:
            assert own.call("Register", ttl("product", 7070, Uuid="product1")) == "product1"
        else:
            refused(CONFLICT, own.call, "Register", ttl("product", 7070, Uuid="product2"))


def test_the_supervisor_registers_on_behalf_of_an_instance(supervised: Registry, call_as: CallAs) -> None:
    supervisor = with_token(supervised, SECRET)
    supervisor.call("Register", ttl("product", 7070, Uuid="product1"))
    # Even root, which may register under the name, may not replace the entry: it has another owner.
    root = supervised.ready()
    for registration in [ttl("product", 6666, Uuid="product1"), ttl("product", 7070, HealthCheck="tcp://127.0.0.1:1")]:
        assert "belongs to instance product1 of product" in refused(CONFLICT, root.call, "Register", registration)
    own = instance_token(SECRET, "product", "product1")
    assert call_as(supervised, NOBODY, ("Authenticate", own), ("Renew", "product1")) is True
    supervisor.call("Register", ttl("product", 7071, Uuid="product1"))
    assert supervisor.get("product") == 7071
    assert supervisor.call("Deregister", "product1") is True


def test_a_services_user_may_register_it_without_a_token(supervised: Registry, call_as: CallAs) -> None:
    id_ = call_as(supervised, NOBODY, ("Register", ttl("job", 9999)))
    assert call_as(supervised, NOBODY, ("Renew", id_)) is True
    assert call_as(supervised, NOBODY, ("Maintenance", id_, True, "busy")) is True
    refused(CONFLICT, call_as, supervised, 65533, ("Deregister", id_))
    assert call_as(supervised, NOBODY, ("Deregister", id_)) is True


def test_the_address_of_a_registration_without_a_token_must_be_the_manifests(
    redis_server: RedisServer, call_as: CallAs
) -> None:
    fixed = {"web": {"User": NOBODY, "Host": "localhost", "Port": 8080, "Instances": []}}
    made = Registry(redis_server.url, MINIKUBE_SUPERVISOR_TOKEN=SECRET)
    try:
        made.start()
        with_token(made, SECRET).call("Reserve", fixed, True, True)
        assert "gives it port 8080" in refused(UNAUTHORIZED, call_as, made, NOBODY, ("Register", ttl("web", 6666)))
        assert call_as(made, NOBODY, ("Register", ttl("web", 8080)))
    finally:
        made.close()


def test_the_token_of_a_removed_instance_gives_no_rights(supervised: Registry, call_as: CallAs) -> None:
    own = instance_token(SECRET, "product", "product1")
    rest = {"product": {**RESERVED["product"], "Instances": []}}
    with_token(supervised, SECRET).call("Reserve", rest, True, True)
    call = ("Register", ttl("product", 7070, Uuid="product1"))
    refused(UNAUTHORIZED, call_as, supervised, NOBODY, ("Authenticate", own), call)
    forged = own[:-1] + ("0" if own[-1] != "0" else "1")
    assert "the token is wrong" in refused(UNAUTHORIZED, call_as, supervised, NOBODY, ("Authenticate", forged))


def test_the_token_of_a_run_ends_with_its_process(supervised: Registry) -> None:
    """`minikube run` becomes the command: the pid and the start time in its token are the command's."""
    with subprocess.Popen(["sleep", "60"]) as process:
        start_time = processes.start_time(process.pid)
        token = instance_token(SECRET, "job", run_token_id(process.pid, start_time, "abc"))
        run = with_token(supervised, token)
        assert run.call("Register", ttl("job", 7300, Uuid="abc")) == "abc"
        other = instance_token(SECRET, "job", run_token_id(process.pid, start_time + 1, "abc"))
        calls = [with_token(supervised, other), run]
        process.kill()
    for client in calls:  # an id that another process has now, and one that none has
        entries = with_token(supervised, SECRET).call("Instances", "job")
        assert [entry["Uuid"] for entry in entries] == ["abc"]
        refused(CONFLICT, client.call, "Register", ttl("job", 7300, Uuid="abc"))


def test_only_the_supervisor_reserves_names(supervised: Registry) -> None:
    refused(UNAUTHORIZED, supervised.ready().call, "Reserve", {}, True, True)
    own = with_token(supervised, instance_token(SECRET, "product", "product1"))
    refused(UNAUTHORIZED, own.call, "Reserve", {}, True, True)


def test_a_registration_waits_until_the_supervisor_has_reserved_its_names(
    redis_server: RedisServer, need: Callable[[str], str], as_root: None
) -> None:
    made = Registry(redis_server.url, MINIKUBE_SUPERVISOR_TOKEN=SECRET)
    line = {"jsonrpc": "2.0", "method": "Discovery.Register", "params": [ttl("job", 9999)], "id": 1}
    try:
        supervisor = with_token(made.start(), SECRET)
        nc = [need("nc"), "-N", "127.0.0.1", str(made.port)]
        with subprocess.Popen(nc, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=NOBODY) as early:
            assert early.stdin is not None
            early.stdin.write(json.dumps(line) + "\n")
            early.stdin.flush()
            eventually(lambda: supervisor.call("Status")["Clients"] > 1, what="the call has come")
            supervisor.call("Reserve", RESERVED, True, True)
            answer, _ = early.communicate()
        # Only the reservation gives the service's user the right.
        assert "result" in json.loads(answer)
    finally:
        made.close()


def test_a_relays_clients_are_not_taken_for_its_user(registry: Registry) -> None:
    registry.ready()
    with socket.create_connection(("127.0.0.1", registry.port), source_address=(RELAY_SOURCE, 0)) as sock:
        line = {"jsonrpc": "2.0", "method": "Discovery.Register", "params": [ttl("web", 8080)], "id": 1}
        sock.sendall(json.dumps(line).encode() + b"\n")
        answer = json.loads(sock.makefile().readline())
    assert answer["error"]["code"] == UNAUTHORIZED
    assert "a caller whose user is not known may not register web" in answer["error"]["message"]


# ---------------------------------------------------------------- tokens


def test_a_token_registers_under_names_of_its_pattern(registry: Registry, call_as: CallAs) -> None:
    admin = registry.ready()
    token = admin.call("CreateToken", ["register shop-*"], "ci")["Token"]
    id_ = call_as(registry, NOBODY, ("Authenticate", token), ("Register", ttl("shop-web", 8080)))
    assert (
        "user"
        not in refused(
            UNAUTHORIZED, call_as, registry, NOBODY, ("Authenticate", token), ("Register", ttl("web", 8080))
        ).partition(" — ")[0]
    )
    refused(UNAUTHORIZED, call_as, registry, NOBODY, ("Authenticate", token), ("CreateToken", ["admin"]))
    # The entry is the token's: neither another user nor the registry's own may replace it, but an operator's token may
    # remove it.
    assert "belongs to token ci" in refused(CONFLICT, admin.call, "Register", ttl("shop-web", 8080))
    other = admin.call("CreateToken", ["register *"], "other")["Token"]
    refused(CONFLICT, call_as, registry, NOBODY, ("Authenticate", other), ("Deregister", id_))
    operator = admin.call("CreateToken", ["admin"], "operator")["Token"]
    refused(CONFLICT, call_as, registry, NOBODY, ("Authenticate", operator), ("Register", ttl("shop-web", 8080)))
    assert call_as(registry, NOBODY, ("Authenticate", operator), ("Deregister", id_)) is True


def test_tokens_are_kept_as_hashes_and_shared_by_the_registries_on_one_redis(
    registry: Registry, redis_server: RedisServer, call_as: CallAs
) -> None:
    admin = registry.ready()
    token = admin.call("CreateToken", ["register *"], "ci")["Token"]
    assert "has this name already" in refused(-32000, admin.call, "CreateToken", ["read"], "ci")
    with redis_server.client() as redis:
        stored = redis.hgetall("{minikube}:tokens")
    assert token not in str(stored)
    assert [(one["Name"], one["Rights"]) for one in admin.call("Tokens")] == [("ci", ["register *"])]
    other = Registry(redis_server.url)
    try:
        other.start().ready()
        call_as(other, NOBODY, ("Authenticate", token), ("Register", ttl("web", 8080)))
        admin.call("RevokeToken", "ci")
        refused(UNAUTHORIZED, call_as, registry, NOBODY, ("Authenticate", token))

        def is_refused() -> bool:
            try:
                call_as(other, NOBODY, ("Authenticate", token))
            except RpcFailed as error:
                return error.code == UNAUTHORIZED
            return False

        eventually(is_refused, what="the other registry refuses the revoked token")
    finally:
        other.close()
    assert "no token has this name" in refused(-32004, admin.call, "RevokeToken", "ci")


def test_a_revoked_token_loses_its_rights_on_open_connections(redis_server: RedisServer) -> None:
    made, other = (Registry(redis_server.url, MINIKUBE_REGISTRY_TOKEN="whole") for _ in range(2))
    try:
        admin = _authenticated(made.start(), "whole")
        token = admin.call("CreateToken", ["read"], "reader")["Token"]
        reader = _authenticated(made, token)
        assert reader.call("Instances") == []
        other.start()
        elsewhere = _authenticated(other, token)
        assert elsewhere.call("Instances") == []
        admin.call("RevokeToken", "reader")
        refused(UNAUTHORIZED, reader.call, "Instances")

        def is_refused() -> bool:
            try:
                elsewhere.call("Instances")
            except RpcFailed as error:
                return error.code == UNAUTHORIZED
            return False

        eventually(is_refused, what="the other registry has taken the token's rights away")
    finally:
        other.close()
        made.close()


def test_a_revoked_token_loses_its_right_to_register_on_open_connections(registry: Registry, as_root: None) -> None:
    admin = registry.ready()
    token = admin.call("CreateToken", ["register web*"], "ci")["Token"]
    os.seteuid(NOBODY)  # a socket belongs to the effective user at the moment when it is made
    try:
        client = registry.client()
    finally:
        os.seteuid(0)
    client.call("Authenticate", token)
    client.call("Register", ttl("web", 8080))
    admin.call("RevokeToken", "ci")
    refused(UNAUTHORIZED, client.call, "Register", ttl("web-2", 8081))
    refused(CONFLICT, client.call, "Renew", admin.call("Instances", "web")[0]["Uuid"])


def test_tokens_outlive_a_redis_that_lost_its_data(registry: Registry, redis_server: RedisServer) -> None:
    admin = registry.ready()
    token = admin.call("CreateToken", ["read"], "ci")["Token"]
    with redis_server.client() as redis:
        redis.flushall()
        eventually(lambda: redis.hexists("{minikube}:tokens", "ci"), what="the token is back in Redis")
    assert registry.ready().call("Authenticate", token) is True


def test_rights_are_checked_when_a_token_is_made(registry: Registry) -> None:
    client = registry.ready()
    for rights in ([], ["write"], ["register"], ["register Shop"], ["admin now"]):
        assert "Rights: expected" in refused(-32602, client.call, "CreateToken", rights)


def test_an_unknown_token_is_refused(registry: Registry) -> None:
    client = registry.ready()
    assert refused(UNAUTHORIZED, client.call, "Authenticate", "guess") == "unauthorized: the token is wrong"


def test_an_instance_of_another_project_registers_as_its_user(
    supervised: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY", f"127.0.0.1:{supervised.port}")
    monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", instance_token("6" * 64, "web", "web1"))
    with blocking.registered("web", 8080, health="ttl") as keeper:
        eventually(lambda: keeper.registered, what="it is registered")
        assert blocking.discover("web").Port == 8080
    (text,) = caplog.messages
    assert "does not know the token in MINIKUBE_REGISTRY_TOKEN" in text
    with pytest.raises(minikube.NotFound):
        blocking.discover("web")


def _authenticated(registry: Registry, token: str) -> Client:
    client = registry.client()
    client.call("Authenticate", token)
    eventually(lambda: not client.call("Status")["Stale"], what="Redis was read")
    return client
