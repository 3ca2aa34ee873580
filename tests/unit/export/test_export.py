"""What each key of a manifest becomes in Compose and in Kubernetes, the notes, and where secrets are written."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from minikube.cli.app import cli
from minikube.errors import UsageError
from minikube.export import ExportOptions, ExportPlan, plan_export
from minikube.manifest import Manifest
from tests.unit.export.validated import Tree, compose, kubernetes
from tests.unit.manifest.test_parser import build

SECRET = "hunter2-of-the-test"

SHOP: Tree = {
    "name": "shop",
    "services": {
        "product": {
            "image": "product:1",
            "container_port": 7070,
            "port": "auto",
            "health": "/health",
            "register": "self",
            "replicas": 3,
            "env": {"MODE": "fast", "API_KEY": SECRET, "ME": "at ${HOST}:${PORT} on $$5"},
            "tags": ["blue"],
            "limits": {"memory": "256M", "cpus": 0.5, "pids": 50, "nofile": 1024},
            "stop": {"signal": "INT", "timeout": "25s", "command": ["drain", "${PORT}"]},
            "volumes": ["cache:/var/cache"],
        },
        "order": {
            "image": "order:1",
            "port": 6060,
            "health": {"tcp": True, "interval": "2s", "restart_after": 3, "start_period": "20s"},
            "register": "self",
            "depends_on": {"product": "healthy", "migrate": "completed"},
        },
        "migrate": {"image": "migrate:1", "restart": "never", "register": "none"},
        "report": {"image": "report:1", "schedule": "every 30m", "register": "none"},
        "debug": {"image": "debug:1", "profiles": ["debug"], "register": "none"},
    },
}


def manifest(raw: Tree, environ: dict[str, str] | None = None) -> Manifest:
    found, problems = build(raw, environ)
    assert problems == []
    return found


def service(**keys: Any) -> Tree:
    return {"name": "p", "services": {"x": {"image": "x:1", "runtime": "container", "register": "none"} | keys}}


def notes_text(plan: ExportPlan) -> str:
    """Return all notes of an export."""
    return "\n".join(map(str, plan.notes))


# ---------------------------------------------------------------- Compose


def test_compose_has_redis_the_registry_and_every_service() -> None:
    tree, _ = compose(manifest(SHOP))
    assert list(tree["services"]) == ["redis", "registry", *SHOP["services"]]
    assert tree["services"]["registry"]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert {"redis-data", "cache"} == tree["volumes"].keys()


def test_compose_keeps_the_settings_of_a_service() -> None:
    product = compose(manifest(SHOP))[0]["services"]["product"]
    assert product["image"] == "product:1"
    assert product["deploy"] == {
        "replicas": 3,
        "resources": {"limits": {"cpus": "0.5", "memory": f"{256 * 1024 * 1024}b", "pids": 50}},
    }
    assert product["ulimits"] == {"nofile": 1024}
    assert (product["stop_signal"], product["stop_grace_period"]) == ("SIGINT", "25s")
    assert product["pre_stop"] == [{"command": ["drain", "7070"]}]
    assert product["labels"] == {"mini-kube-discovery.tag.blue": "true"}
    assert product["volumes"] == ["cache:/var/cache"]
    assert product["healthcheck"]["interval"] == "5s"
    assert "http://127.0.0.1:7070/health" in product["healthcheck"]["test"][1]


def test_compose_gives_services_the_addresses_of_registry_and_redis() -> None:
    env = compose(manifest(SHOP))[0]["services"]["product"]["environment"]
    assert (env["MINIKUBE_REGISTRY"], env["REDIS_URL"]) == ("registry:5555", "redis://redis:6379/0")
    assert (env["HOST"], env["PORT"], env["SERVICE_NAME"]) == ("0.0.0.0", "7070", "product")


def test_compose_starts_on_an_engine_that_has_no_start_interval() -> None:
    """An engine older than 25 does not create a container with `start_interval`, and Compose reports that as an error."""
    for name, tree in compose(manifest(SHOP))[0]["services"].items():
        assert "start_interval" not in tree.get("healthcheck", {}), name


def test_compose_leaves_redis_to_the_application_that_names_one() -> None:
    raw: Tree = {"services": {name: {"image": "i"} for name in ("own", "file", "other")}}
    raw["services"]["own"]["env"] = {"REDIS_URL": f"redis://:{SECRET}@app/1"}
    loaded = manifest(raw)
    file = msgspec.structs.replace(loaded.services["file"], file_env={"REDIS_URL": "redis://app/2"})
    loaded = msgspec.structs.replace(loaded, services={**loaded.services, "file": file})
    services = compose(loaded)[0]["services"]
    assert services["own"]["environment"]["REDIS_URL"].startswith("${OWN_REDIS_URL:?")
    assert "REDIS_URL" not in services["file"]["environment"]
    assert {services[name]["environment"]["MINIKUBE_REDIS_URL"] for name in raw["services"]} == {"redis://redis:6379/0"}


def test_compose_export_doubles_dollars_against_interpolation() -> None:
    env = compose(manifest(SHOP))[0]["services"]["product"]["environment"]
    assert env["ME"] == "at 0.0.0.0:7070 on $$5"


def test_compose_waits_for_the_same_dependencies_as_the_manifest() -> None:
    services = compose(manifest(SHOP))[0]["services"]
    assert services["order"]["depends_on"] == {
        "registry": {"condition": "service_healthy"},
        "product": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }
    assert services["migrate"]["restart"] == "no"
    assert services["debug"]["profiles"] == ["debug"]


def test_compose_publishes_fixed_ports_only() -> None:
    services = compose(manifest(SHOP))[0]["services"]
    assert services["order"]["ports"] == ["127.0.0.1:6060:6060"]
    assert (services["product"]["expose"], "ports" in services["product"]) == (["7070"], False)


@pytest.mark.parametrize("network", ["project", "host"])
def test_compose_publishes_the_ports_of_a_container_as_the_project_does(network: str) -> None:
    fixed = compose(manifest(service(port=8080, network=network)))[0]["services"]["x"]
    assert fixed["ports"] == ["127.0.0.1:8080:8080"]
    ranged = compose(manifest(service(port="8080-8081", replicas=2, container_port=80, host="::1")))[0]["services"]["x"]
    assert ranged["ports"] == ["[::1]:8080-8081:80"]
    named = compose(manifest(service(port=8080, network=network, host="localhost")))[0]["services"]["x"]
    assert named["ports"] == ["127.0.0.1:8080:8080"]  # Compose takes an address there, no name


NAMED: Tree = {
    "admin": 9230,
    "dns": {"port": "5300-5309", "container_port": 53, "protocol": "udp"},
    "free": "auto",
    "with-a-very-long-name": "auto",
}


def test_compose_has_named_ports_with_their_variables() -> None:
    x = compose(manifest(service(port=8080, ports=NAMED, command="run ${PORT_FREE}")))[0]["services"]["x"]
    assert x["ports"] == ["127.0.0.1:8080:8080", "127.0.0.1:9230:9230", "127.0.0.1:5300-5309:53/udp"]
    assert x["expose"] == ["8081", "8082"]
    assert x["command"] == ["run", "8081"]
    variables = {"PORT": "8080", "PORT_ADMIN": "9230", "PORT_DNS": "53", "PORT_FREE": "8081"}
    assert variables.items() <= x["environment"].items()


def test_kubernetes_has_named_ports_with_their_variables() -> None:
    """Also without the key `port`. A name that is too long for a port becomes its number."""
    objects = kubernetes(manifest(service(ports=NAMED)))[0]
    pod, found = container(objects, "Deployment", "x"), objects["Service", "x"]
    assert pod["ports"] == [
        {"name": "admin", "containerPort": 9230},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "free", "containerPort": 8080},
        {"name": "port-8081", "containerPort": 8081},
    ]
    assert found["spec"]["ports"][1] == {"name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP"}
    assert {"name": "PORT_ADMIN", "value": "9230"} in pod["env"]


def test_compose_does_not_wait_for_a_health_check_that_it_cannot_run() -> None:
    raw = service(health={"log": "ready"})
    raw["services"]["y"] = {"image": "y", "register": "none", "depends_on": {"x": "healthy"}}
    tree, plan = compose(manifest(raw))
    assert tree["services"]["y"]["depends_on"]["x"] == {"condition": "service_started"}
    assert "services.y.depends_on.x: x has no check there" in notes_text(plan)


def test_compose_builds_images_as_the_manifest_does() -> None:
    built = compose(manifest({"services": {"x": {"build": {"context": ".", "target": "t", "args": {"A": "1$$"}}}}}))[0]
    build = built["services"]["x"]["build"]
    assert (build["target"], build["args"]) == ("t", {"A": "1$$"})
    assert Path(build["context"]).is_absolute()


def test_compose_paths_inside_the_project_are_relative_to_the_file() -> None:
    """A Compose file inside the project can be cloned with it; one elsewhere needs absolute paths."""
    raw = {"services": {"x": {"build": {"context": "./app"}, "volumes": ["./data:/data", "kept:/kept"]}}}
    project = manifest(raw).directory

    def paths(output_dir: Path) -> tuple[str, list[str]]:
        x = compose(manifest(raw), ExportOptions(output_dir=output_dir))[0]["services"]["x"]
        return x["build"]["context"], x["volumes"]

    assert paths(project) == ("./app", ["./data:/data", "kept:/kept"])
    assert paths(project / "deploy") == ("../app", ["../data:/data", "kept:/kept"])
    assert paths(project / "app") == (".", ["../data:/data", "kept:/kept"])
    assert paths(Path("/elsewhere")) == (str(project / "app"), [f"{project}/data:/data", "kept:/kept"])


# ---------------------------------------------------------------- Kubernetes


def container(objects: dict[tuple[str, str], Tree], kind: str, name: str) -> Tree:
    spec = objects[kind, name]["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if kind == "CronJob" else spec["template"]
    found: Tree = template["spec"]["containers"][0]
    return found


def test_kubernetes_has_the_right_kinds_of_objects() -> None:
    objects, plan = kubernetes(manifest(SHOP))
    assert {
        ("Deployment", "product"),
        ("Service", "product"),
        ("ConfigMap", "product"),
        ("Secret", "product"),
        ("Deployment", "order"),
        ("Job", "migrate"),
        ("CronJob", "report"),
        ("StatefulSet", "redis"),
        ("Service", "redis"),
        ("Deployment", "registry"),
        ("Service", "registry"),
        ("PersistentVolumeClaim", "cache"),
    } <= objects.keys()
    assert ("Deployment", "debug") not in objects
    assert "services.debug.profiles: left out — --profile debug" in notes_text(plan)
    assert ("Deployment", "debug") in kubernetes(manifest(SHOP), ExportOptions(profiles=frozenset({"debug"})))[0]


def test_kubernetes_keeps_the_settings_of_a_service() -> None:
    objects, _ = kubernetes(manifest(SHOP))
    deployment = objects["Deployment", "product"]["spec"]
    assert deployment["replicas"] == 3
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] == 25
    assert deployment["template"]["metadata"]["labels"]["mini-kube-discovery/blue"] == "true"
    found = container(objects, "Deployment", "product")
    assert found["resources"] == {"limits": {"cpu": "500m", "memory": str(256 * 1024 * 1024)}}
    assert found["lifecycle"]["preStop"]["exec"]["command"] == ["drain", "7070"]
    assert found["readinessProbe"]["httpGet"] == {"path": "/health", "port": 7070}
    assert "livenessProbe" not in found
    assert objects["ConfigMap", "product"]["data"] == {"MODE": "fast", "ME": "at 0.0.0.0:7070 on $5"}
    assert objects["ConfigMap", "shop.shared"]["data"]["REDIS_URL"] == "redis://redis:6379/0"
    sources = [one for entry in found["envFrom"] for one in entry.values()]
    assert [one["name"] for one in sources] == ["shop.shared", "shop.shared", "product", "product"]


def test_kubernetes_restarts_a_container_with_restart_after() -> None:
    found = container(kubernetes(manifest(SHOP))[0], "Deployment", "order")
    assert found["livenessProbe"]["failureThreshold"] == 3
    assert found["startupProbe"]["periodSeconds"] * found["startupProbe"]["failureThreshold"] >= 20
    assert found["readinessProbe"]["periodSeconds"] == 2


def test_kubernetes_waits_for_ports_and_notes_the_other_dependencies() -> None:
    objects, plan = kubernetes(manifest(SHOP))
    waits = objects["Deployment", "order"]["spec"]["template"]["spec"]["initContainers"]
    assert [one["name"] for one in waits] == ["wait-product"]
    assert "services.order.depends_on.migrate: Kubernetes does not wait until migrate is completed" in notes_text(plan)


def test_kubernetes_does_not_wait_for_a_service_of_an_excluded_profile() -> None:
    raw = service(port=80, health={"tcp": True}, profiles=["a"])
    raw["services"]["y"] = {"image": "y", "register": "none", "profiles": ["b"], "depends_on": {"x": "healthy"}}
    objects, plan = kubernetes(manifest(raw), ExportOptions(profiles=frozenset({"b"})))
    assert "initContainers" not in objects["Deployment", "y"]["spec"]["template"]["spec"]
    assert "services.y.depends_on.x: Kubernetes does not wait until x is healthy" in notes_text(plan)


def test_kubernetes_waits_at_the_name_of_the_service_object() -> None:
    raw: Tree = {"name": "p", "services": {"7seg": {"image": "s", "port": 80, "health": {"tcp": True}}}}
    raw["services"]["y"] = {"image": "y", "register": "none", "depends_on": {"7seg": "healthy"}}
    objects, _ = kubernetes(manifest(raw))
    assert ("Service", "svc-7seg") in objects
    (wait,) = objects["Deployment", "y"]["spec"]["template"]["spec"]["initContainers"]
    assert "create_connection(('svc-7seg', 80), 2)" in wait["command"][2]


def test_kubernetes_keeps_volumes_with_similar_names_apart() -> None:
    names = ["a-b", "a.b", "a_b", "A-b", "registry-cert", "x" * 70, "x" * 71]
    objects, _ = kubernetes(manifest(service(volumes=[f"{name}:/v{at}" for at, name in enumerate(names)])))
    claims = [name for kind, name in objects if kind == "PersistentVolumeClaim"]
    assert len(claims) == len(names)
    assert claims[0] == "a-b"


@pytest.mark.parametrize(
    ("keys", "numbers", "note"),
    [
        ({"user": "1234:1235"}, {"runAsUser": 1234, "runAsGroup": 1235}, ""),
        ({"user": "1234"}, {"runAsUser": 1234}, ""),
        ({"user": "1234", "group": "9"}, {"runAsUser": 1234, "runAsGroup": 9}, ""),
        ({"user": "1234:app"}, {"runAsUser": 1234}, "services.x.user: Kubernetes takes numbers — make app the"),
        ({"user": "²"}, {}, "services.x.user: Kubernetes takes numbers — make ² the"),
        ({"group": "app"}, {}, "services.x.group: Kubernetes takes numbers — make app the"),
    ],
)
def test_kubernetes_takes_numeric_users_and_notes_others(keys: Tree, numbers: Tree, note: str) -> None:
    objects, plan = kubernetes(manifest(service(**keys)))
    context = objects["Deployment", "x"]["spec"]["template"]["spec"]["securityContext"]
    assert context == {"seccompProfile": {"type": "RuntimeDefault"}} | numbers
    assert note in notes_text(plan)
    assert bool(note) is ("takes numbers" in notes_text(plan))


@pytest.mark.parametrize(
    ("keys", "pods"),
    [
        ({}, 0),
        ({"replicas": 2}, 2),
        ({"replicas": 2, "profiles": ["p"]}, 0),
        ({"replicas": 2, "volumes": ["a:/a", "a:/b"]}, 2),
    ],
)
def test_kubernetes_notes_claims_that_several_pods_share_and_guessed_sizes(keys: Tree, pods: int) -> None:
    notes = notes_text(kubernetes(manifest(service(**{"volumes": ["a:/a"]} | keys)))[1])
    assert ("volumes.a: is ReadWriteOnce" in notes) is bool(pods)
    assert f"ReadWriteOnce, and {pods} pods mount it" in notes or not pods
    assert "volumes.a: storage: 1Gi is a default" in notes
    assert "redis: storage: 1Gi is a default" in notes


def test_kubernetes_counts_the_pods_of_all_services_that_share_a_claim() -> None:
    raw = service(volumes=["a:/a"])
    raw["services"]["y"] = {"image": "y", "register": "none", "volumes": ["a:/a"]}
    assert "ReadWriteOnce, and 2 pods mount it" in notes_text(kubernetes(manifest(raw))[1])


@pytest.mark.parametrize(
    ("schedule", "cron", "exact"),
    [
        ("*/5 * * * *", "*/5 * * * *", True),
        ("every 30m", "*/30 * * * *", True),
        ("every 45s", "*/1 * * * *", False),
        ("every 7h", "0 */8 * * *", False),
        ("every 2h", "0 */2 * * *", True),
        ("every 1d", "0 0 * * *", True),
        ("every 60000ms", "*/1 * * * *", True),
        ("every 1.5h", "0 */2 * * *", False),
        ("every 30d", "0 0 * * 0", False),
    ],
)
def test_kubernetes_expresses_periods_as_cron_schedules(schedule: str, cron: str, exact: bool) -> None:
    objects, plan = kubernetes(manifest(service(schedule=schedule)))
    assert objects["CronJob", "x"]["spec"]["schedule"] == cron
    assert ("services.x.schedule" in notes_text(plan)) is not exact


def test_kubernetes_export_escapes_references_that_kubernetes_would_expand() -> None:
    found = container(
        kubernetes(manifest(service(command=["echo", "$(date)", "${INSTANCE_ID}"])))[0], "Deployment", "x"
    )
    assert found["args"] == ["echo", "$$(date)", "$(INSTANCE_ID)"]
    assert {"name": "INSTANCE_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in found["env"]


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("export", [compose, kubernetes])
@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{SECRET}@db.example:6379/0",
        f"redis+sentinel://{SECRET}@db.example/s",
        f"redis+sentinel://db.example/s?sentinel_password={SECRET}",
    ],
)
def test_no_secret_is_written_unless_asked_for(export: Any, url: str) -> None:
    raw = SHOP | {"registry": {"token": SECRET}, "redis": {"url": url}}
    hidden, plan = export(manifest(raw))
    assert SECRET not in f"{hidden}{notes_text(plan)}"
    assert "API_KEY" in notes_text(plan)
    shown, _ = export(manifest(raw), ExportOptions(with_secrets=True))
    assert str(shown).count(SECRET) >= 3
    assert not [name for name in map(str, shown) if "StatefulSet" in name]


WEB: Tree = {
    "image": "web:1",
    "register": "none",
    "groups": ["backend"],
    "on_exit": "stop-all-on-failure",
    "depends_on": {"seed": "exited", "cache": {"condition": "healthy", "required": False}},
}
POLICIES: Tree = {
    "name": "p",
    "services": {
        "web": WEB,
        "seed": {"image": "seed:1", "restart": "never", "register": "none"},
        "cache": {"image": "cache:1", "port": 80, "health": "tcp", "register": "self"},
    },
}


def test_compose_waits_for_an_end_whatever_its_code_and_for_optional_services_without_requiring_them() -> None:
    tree, plan = compose(manifest(POLICIES))
    web = tree["services"]["web"]
    assert web["depends_on"]["seed"] == {"condition": "service_completed_successfully", "required": False}
    assert web["depends_on"]["cache"] == {"condition": "service_healthy", "required": False}
    assert web["labels"] == {"mini-kube-discovery.group.backend": "true"}
    notes = notes_text(plan)
    assert "services.web.on_exit: is an option of Compose" in notes
    assert "docker compose up --abort-on-container-failure --exit-code-from web" in notes
    assert "services.web.depends_on.seed: Compose warns where it fails" in notes


def test_kubernetes_does_not_wait_for_optional_services() -> None:
    objects, plan = kubernetes(manifest(POLICIES))
    pod = objects["Deployment", "web"]["spec"]["template"]
    assert "initContainers" not in pod["spec"]
    assert pod["metadata"]["labels"]["mini-kube-discovery.group/backend"] == "true"
    assert ("Job", "seed") in objects, "what others wait for runs once"
    notes = notes_text(plan)
    assert "services.web.depends_on.cache: is optional" in notes
    assert "services.web.depends_on.seed: Kubernetes does not wait until seed is exited" in notes
    assert "services.web.on_exit: has no counterpart" in notes


def test_the_lines_of_shell_are_run_by_a_shell_there_too() -> None:
    lines = "a $HOME ${PORT} | b && ${MINIKUBE_PYTHON} c"
    keys = {"shell": lines, "port": 80, "health": {"shell": "d | e ${PORT}"}, "stop": {"shell": "f; g"}}
    loaded = manifest({"services": {"x": keys}})
    script = "a $HOME 80 | b && python3 c"
    tree = compose(loaded)[0]["services"]["x"]
    assert (tree["entrypoint"], tree["command"]) == (["/bin/sh", "-ec"], [script.replace("$", "$$")])
    assert tree["healthcheck"]["test"] == ["CMD", "/bin/sh", "-ec", "d | e 80"]
    assert tree["pre_stop"] == [{"command": ["/bin/sh", "-ec", "f; g"]}]
    found = container(kubernetes(loaded)[0], "Deployment", "x")
    assert (found["command"], found["args"]) == (["/bin/sh", "-ec"], [script])
    assert found["readinessProbe"]["exec"]["command"] == ["/bin/sh", "-ec", "d | e 80"]
    assert found["lifecycle"]["preStop"]["exec"]["command"] == ["/bin/sh", "-ec", "f; g"]


@pytest.mark.parametrize(
    ("keys", "in_compose", "in_kubernetes"),
    [
        ({"command": ["c"]}, {"command": ["c"]}, {"args": ["c"]}),
        ({"entrypoint": "e f", "args": ["c"]}, {"entrypoint": ["e", "f"], "command": ["c"]}, None),
        ({"entrypoint": [], "command": ["c"]}, {"entrypoint": [], "command": ["c"]}, {"command": ["c"]}),
        ({"entrypoint": []}, {"entrypoint": []}, {}),
        ({"shell": "a"}, {"entrypoint": ["/bin/sh", "-ec"], "command": ["a"]}, None),
    ],
)
def test_entrypoint_and_command_mean_the_same_there(keys: Tree, in_compose: Tree, in_kubernetes: Tree | None) -> None:
    """Kubernetes calls the first `command` and the second `args`, and cannot drop an ENTRYPOINT alone."""
    loaded = manifest(service(**keys))
    tree = compose(loaded)[0]["services"]["x"]
    assert {key: tree[key] for key in ("entrypoint", "command") if key in tree} == in_compose
    objects, plan = kubernetes(loaded)
    found = container(objects, "Deployment", "x")
    if in_kubernetes is None:
        in_kubernetes = {"command": in_compose["entrypoint"], "args": in_compose["command"]}
    assert {key: found[key] for key in ("command", "args") if key in found} == in_kubernetes
    assert ("services.x.entrypoint: Kubernetes runs the image's ENTRYPOINT" in notes_text(plan)) is (
        found.keys().isdisjoint(("command", "args"))
    )


def test_host_names_and_words_for_the_engine_are_carried_over_or_noted() -> None:
    hosts = {"db": "10.0.0.1", "db-2": "10.0.0.1", "six": "::1", "me": "host-gateway"}
    loaded = manifest(service(extra_hosts=hosts, engine_args=["--privileged"], volumes=["/anonymous", "./a:/a:ro,z"]))
    tree, plan = compose(loaded)
    assert tree["services"]["x"]["extra_hosts"] == hosts
    assert tree["services"]["x"]["volumes"] == ["/anonymous", "/project/a:/a:ro,z"]
    assert "services.x.engine_args: are words of an engine's command" in notes_text(plan)
    objects, plan = kubernetes(loaded)
    pod = objects["Deployment", "x"]["spec"]["template"]["spec"]
    assert pod["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["db", "db-2"]}, {"ip": "::1", "hostnames": ["six"]}]
    assert "services.x.extra_hosts.me: host-gateway is this machine" in notes_text(plan)
    assert "services.x.engine_args: are words" in notes_text(plan)
    assert "services.x.volumes: /project/a is on this machine" in notes_text(plan)


@pytest.mark.parametrize("export", [compose, kubernetes])
@pytest.mark.parametrize(("replicas", "noted"), [(1, False), (2, True)])
def test_the_number_of_a_replica_has_a_note_where_it_is_lost(export: Any, replicas: int, noted: bool) -> None:
    _, plan = export(manifest(service(args=["${REPLICA}"], replicas=replicas)))
    assert ("services.x: uses ${REPLICA}, which neither tool has" in notes_text(plan)) is noted
    assert plan.workloads["x"].command == ("1",)


@pytest.mark.parametrize("export", [compose, kubernetes])
def test_each_key_without_a_counterpart_has_a_note(export: Any) -> None:
    raw = service(
        command=["run"],
        umask="022",
        health={"log": "ready"},
        limits={"as": "1G"},
        watch=["src"],
        port=80,
        register="supervisor",
    )
    raw["redis"] = {"url": "redis://localhost:6379/0"}
    _, plan = export(manifest(raw))
    keys = {note.key for note in plan.notes}
    assert {f"services.x.{key}" for key in ("umask", "health.log", "limits.as", "watch", "register")} <= keys
    assert {"redis.url", "registry.tls"} <= keys


@pytest.mark.parametrize("export", [compose, kubernetes])
def test_image_options_set_the_images(export: Any) -> None:
    raw = {"services": {"x": {"command": ["run"]}}}
    assert "services.x.command: needs an image that contains the program" in notes_text(export(manifest(raw))[1])
    found, plan = export(
        manifest(raw), ExportOptions(images={"x": "reg/x:2", "redis": "valkey:8", "registry": "mini:1"})
    )
    assert all(image in str(found) for image in ("reg/x:2", "valkey:8", "mini:1"))
    assert "services.x.command" not in notes_text(plan)


def test_an_image_for_an_unknown_service_is_refused() -> None:
    with pytest.raises(UsageError, match="no service y — there are x, redis, registry"):
        plan_export(manifest(service()), ExportOptions(images={"y": "z"}))


def test_services_named_redis_and_registry_do_not_collide_with_the_exported_ones() -> None:
    raw = {"services": {"redis": {"image": "r", "register": "none"}, "registry": {"image": "s", "register": "none"}}}
    tree, _ = compose(manifest(raw))
    assert list(tree["services"]) == ["minikube-redis", "minikube-registry", "redis", "registry"]
    kubernetes(manifest(raw))


# ---------------------------------------------------------------- the command


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(cli, ["export", *arguments])
    assert (done.exception.exit_code if isinstance(done.exception, UsageError) else done.exit_code) == code, done.output
    return done.stdout, f"{done.stderr}{done.exception or ''}"


@pytest.fixture
def written(project: Path) -> Path:
    (project / "supervisor.toml").write_text('name = "p"\n[services.x]\nimage = "x"\nenv = { KEY_SECRET = "s3cret" }\n')
    return project


def test_the_file_goes_to_stdout_and_the_notes_to_stderr(written: Path) -> None:
    output, errors = run("compose")
    assert output.startswith("# Made by minikube ")
    assert "minikube: registry.tls: " in errors
    assert "# registry.tls: " in output


def test_a_directory_gets_a_file_for_each_service(written: Path) -> None:
    run("kubernetes", "-o", "k8s")
    assert sorted(path.name for path in (written / "k8s").iterdir()) == ["shared.yaml", "x.yaml"]
    run("kubernetes", "-o", "k8s", "--with-secrets")
    assert (written / "k8s" / "x.yaml").stat().st_mode & 0o777 == 0o600
    assert "s3cret" in (written / "k8s" / "x.yaml").read_text()


def test_a_file_that_was_not_made_by_the_command_is_not_overwritten(written: Path) -> None:
    (written / "compose.yaml").write_text("mine\n")
    _, errors = run("compose", "-o", "compose.yaml", code=2)
    assert "compose.yaml is there already and not made by this command" in errors
    assert (written / "compose.yaml").read_text() == "mine\n"


@pytest.mark.parametrize("image", ["x", "=y", "x=", "x=a b"])
def test_a_malformed_image_option_is_refused(written: Path, image: str) -> None:
    assert "--image: expected NAME=REF" in run("compose", "--image", image, code=2)[1]
