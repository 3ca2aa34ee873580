"""After a crash of the supervisor the registry of the next run hands out nothing of the dead run."""

import os
import time
from pathlib import Path

from minikube.project.ids import instance_id, project_key
from tests.eventually import eventually
from tests.integration.registry.registry_process import Client, Registry, services
from tests.redis_server import RedisServer


def start_run(registry: Registry, directory: Path) -> Client:
    """Start the registry as the supervisor of a new run does; return a client that asks at once."""
    registry.kill()
    registry.env["MINIKUBE_REGISTRY_RUN"] = f"{time.time():.3f} {directory}"
    return registry.start().client()


def test_the_dead_runs_addresses_are_never_handed_out_and_others_are(
    registry: Registry, redis_server: RedisServer, tmp_path: Path
) -> None:
    key = project_key(os.uname().nodename, tmp_path)
    probed, leased = instance_id(key, "product", 1), instance_id(key, "job", 3)
    client = registry.ready()
    lease = {"Name": "job", "HealthCheck": "ttl:", "Lease": 600}
    with services(2) as (dead, other):
        client.call("Register", dead.registration("product", Uuid=probed))
        client.call("Register", {**lease, "Addr": "127.0.0.1:7100", "Uuid": leased})
        client.call("Register", {**lease, "Addr": "127.0.0.1:7101", "Name": "lease"})
        client.call("Register", other.registration("order"))
        assert client.get("product") == dead.port
        assert client.get("job") == 7100
        revision = client.call("Status")["Revision"]
        dead.hang()
        client = start_run(registry, tmp_path)
        watcher = registry.client()
        for _ in range(50):
            assert client.get("product") == 0
            assert client.get("job") == 0
        assert client.get("order") == other.port, "another client's entry is known at once"
        assert client.get("lease") == 7101
        assert {one["Uuid"] for one in client.call("Instances")} > {probed, leased}, "nothing is removed"
        assert watcher.call("Watch", "*", revision)["Instances"] is None
        changed = {watcher.notice()["Instance"]["Uuid"], watcher.notice()["Instance"]["Uuid"]}
        assert changed == {probed, leased}, "watchers learn of it, too"
        with redis_server.client() as admin:
            assert not admin.exists(f"{{minikube}}:instance:product:{probed}", f"{{minikube}}:instance:job:{leased}")
        dead.release()
        eventually(lambda: client.get("product") == dead.port, what="a probe confirms it")
        assert client.call("Renew", leased)
        eventually(lambda: client.get("job") == 7100, what="a renewal confirms it")


def test_a_registry_that_is_started_again_in_the_same_run_knows_everything(registry: Registry, tmp_path: Path) -> None:
    id_ = instance_id(project_key(os.uname().nodename, tmp_path), "product", 1)
    client = start_run(registry, tmp_path)
    with services(1) as (service,):
        client.call("Register", service.registration("product", Uuid=id_))
        registry.kill()
        assert registry.start().client().get("product") == service.port
