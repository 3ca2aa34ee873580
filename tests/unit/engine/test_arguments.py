"""The arguments of engines' commands: every key of the manifest is there, no value of a variable is on a command line."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from minikube.engine.arguments import (
    ContainerIdentity,
    ContainerNetworking,
    ContainerProgram,
    backing_environment,
    build_arguments,
    create_arguments,
    image_name,
    publish_argument,
    split_environment,
)
from minikube.engine.command import Engine, container_name, error_line, is_unreachable, project_mark
from minikube.errors import StartError
from minikube.manifest import (
    BuildSpec,
    HostPort,
    Manifest,
    RegistrySettings,
    ServiceSpec,
    TlsSettings,
    VolumeSpec,
)

DOCKER, PODMAN, NERDCTL = (Engine(kind, f"/usr/bin/{kind}", "0123456789ab") for kind in ("docker", "podman", "nerdctl"))
HOST = ContainerNetworking()
IDENTITY = ContainerIdentity("shop", "web", "abcd1234", "web-2")
MANIFEST = Manifest("shop", Path("/shop/supervisor.toml"), Path("/shop"))


def create(engine: Engine = DOCKER, networking: ContainerNetworking = HOST, **fields: Any) -> list[str]:
    spec = ServiceSpec("web", Path("/shop"), image="nginx:1", **fields)
    return list(
        create_arguments(
            engine,
            spec,
            IDENTITY,
            networking,
            ContainerProgram(spec.image, *spec.container_command),
            variables=("A", "B"),
            env_file=None,
        )
    )


def option(words: list[str], name: str) -> list[str]:
    """Return all values of one option."""
    return [value for word, value in pairwise(words) if word == name]


def test_name_and_labels_of_a_container_name_its_project() -> None:
    words = create()
    assert words[0] == "create"
    assert option(words, "--name") == ["minikube-shop-01234567-web-2"]
    assert sorted(option(words, "--label")) == [
        "mini-kube-discovery.instance=abcd1234",
        "mini-kube-discovery.mark=0123456789ab",
        "mini-kube-discovery.project=shop",
        "mini-kube-discovery.service=web",
    ]
    assert project_mark(Path("/one/.minikube")) != project_mark(Path("/two/.minikube"))
    assert container_name("shop", "0123456789ab", "web") != container_name("shop", "ba9876543210", "web")


def test_the_command_comes_last_and_variables_have_no_values() -> None:
    words = create(command=("run", "-v"))
    assert words[-3:] == ["nginx:1", "run", "-v"]
    assert option(words, "--env") == ["A", "B"]
    assert not any("=" in word for word in option(words, "--env"))


@pytest.mark.parametrize(
    ("fields", "name", "values"),
    [
        ({}, "--network", ["host"]),
        ({"user": "1000"}, "--user", ["1000"]),
        ({"user": "1000", "group": "app"}, "--user", ["1000:app"]),
        ({"group": "app"}, "--user", ["0:app"]),
        ({"workdir": "/srv"}, "--workdir", ["/srv"]),
        ({"limits": {"memory": 67108864}}, "--memory", ["67108864"]),
        ({"limits": {"memory": -1}}, "--memory", []),
        ({"limits": {"cpus": 0.5}}, "--cpus", ["0.5"]),
        ({"limits": {"pids": 100}}, "--pids-limit", ["100"]),
        ({"limits": {"nofile": 256, "core": -1}}, "--ulimit", ["nofile=256", "core=-1"]),
        (
            {"volumes": (VolumeSpec("/a,b", "/x", read_only=True), VolumeSpec("cache", "/y"))},
            "--mount",
            [
                'type=bind,"source=/a,b",target=/x,readonly',
                "type=volume,source=minikube-shop-01234567-cache,target=/y",
            ],
        ),
        ({"volumes": (VolumeSpec("", "/app/node_modules"),)}, "--mount", ["type=volume,target=/app/node_modules"]),
        (
            {"volumes": (VolumeSpec("/a:b", "/x", options=("cached",)),)},
            "--mount",
            ["type=bind,source=/a:b,target=/x"],
        ),
        (
            {"volumes": (VolumeSpec("/a", "/x", True, ("cached", "Z")), VolumeSpec("v", "/y", options=("z",)))},
            "--volume",
            ["/a:/x:ro,Z", "minikube-shop-01234567-v:/y:z"],
        ),
        ({"volumes": (VolumeSpec("", "/x", options=("z",)),)}, "--mount", ["type=volume,target=/x"]),
        (
            {"extra_hosts": {"db": "10.0.0.1", "six": "::1", "me": "host-gateway"}},
            "--add-host",
            ["db:10.0.0.1", "six:::1", "me:host-gateway"],
        ),
    ],
)
def test_a_key_of_the_manifest_reaches_the_engine(fields: dict[str, Any], name: str, values: list[str]) -> None:
    assert option(create(**fields), name) == values


@pytest.mark.parametrize(
    ("fields", "entrypoint", "after"),
    [
        ({"entrypoint": ("a",)}, ["a"], []),
        ({"entrypoint": ("a", "b", "c"), "command": ("d",)}, ["a"], ["b", "c", "d"]),
        ({"entrypoint": (), "command": ("d", "e")}, [""], ["d", "e"]),
        ({"shell": "a && b"}, ["/bin/sh"], ["-ec", "a && b"]),
        ({"command": ("d",)}, [], ["d"]),
    ],
)
def test_an_entrypoint_is_one_word_of_the_engine_and_the_rest_goes_before_the_command(
    fields: dict[str, Any], entrypoint: list[str], after: list[str]
) -> None:
    """The lines of `shell` replace the ENTRYPOINT, too: it would get them as arguments."""
    words = create(**fields)
    assert option(words, "--entrypoint") == entrypoint
    assert words[words.index("nginx:1") + 1 :] == after


def test_words_for_the_engine_stand_before_the_image_and_end_the_options() -> None:
    words = create(engine_args=("--cap-add", "NET_ADMIN"), command=("run",))
    assert words[-5:] == ["--cap-add", "NET_ADMIN", "--", "nginx:1", "run"]


def test_stdin_is_open_so_that_builds_that_watch_go_on() -> None:
    assert "--interactive" in create()


def test_a_volume_with_a_label_refuses_a_path_that_the_engine_would_split() -> None:
    with pytest.raises(StartError, match=r"volumes: /a:b contains a colon — move it, or leave out Z"):
        create(volumes=(VolumeSpec("/a:b", "/x", options=("Z",)),))


def test_the_gateway_of_the_projects_network_is_this_machine() -> None:
    """Podman before 4.7 does not know the word `host-gateway`."""
    networking = ContainerNetworking("shop-net", machine="172.18.0.1")
    words = create(networking=networking, extra_hosts={"me": "host-gateway", "db": "10.0.0.1"})
    assert option(words, "--add-host") == ["me:172.18.0.1", "db:10.0.0.1"]


def test_init_is_passed_only_where_the_manifest_sets_it() -> None:
    assert "--init" in create(init=True)
    assert "--init" not in create()


def test_a_container_on_the_projects_network_has_names_published_ports_and_names_of_other_services() -> None:
    published = (publish_argument("127.0.0.1", 8080, 80), publish_argument("127.0.0.1", 5300, 53, "udp"))
    words = create(networking=ContainerNetworking("shop-net", published, ("web", "web-1"), {"api": "172.18.0.1"}))
    assert option(words, "--network") == ["shop-net"]
    assert option(words, "--publish") == ["127.0.0.1:8080:80/tcp", "127.0.0.1:5300:53/udp"]
    assert option(words, "--network-alias") == ["web", "web-1"]
    assert option(words, "--add-host") == ["api:172.18.0.1"]


def test_an_engine_gets_an_address_to_publish_on() -> None:
    assert publish_argument("::1", 8080, 80) == "[::1]:8080:80/tcp"
    assert publish_argument("localhost", 8080, 80) == "127.0.0.1:8080:80/tcp"


def test_create_pulls_no_image_and_turns_the_images_own_check_off() -> None:
    for engine in (DOCKER, PODMAN):
        words = create(engine)
        assert option(words, "--pull") == ["never"]
        assert "--no-healthcheck" in words
        assert option(words, "--log-driver") == ["none"]
    assert "--no-healthcheck" not in create(NERDCTL)


def test_removal_kills_immediately_with_every_engine() -> None:
    assert DOCKER.remove_options == ("--force", "--volumes")
    assert PODMAN.remove_options == ("--force", "--volumes", "--time", "0")


def test_an_image_is_named_by_the_manifest_or_after_its_service() -> None:
    build = BuildSpec(Path("/shop"))
    assert image_name(DOCKER, "shop", ServiceSpec("web", Path("/"), image="mine", build=build)) == "mine"
    assert image_name(DOCKER, "shop", ServiceSpec("web", Path("/"), build=build)) == "minikube-shop-01234567-web"


def test_values_of_build_arguments_travel_in_the_environment() -> None:
    build = BuildSpec(Path("/shop"), "Dockerfile.dev", "web", {"TOKEN": "hidden", "PATH": "/bin"})
    words, env = build_arguments(DOCKER, build, "tag", {"PATH": "/usr/bin"})
    assert option(list(words), "--build-arg") == ["TOKEN", "PATH=/bin"]
    assert env == {"TOKEN": "hidden"}
    assert option(list(words), "--file") == ["/shop/Dockerfile.dev"]
    assert option(list(words), "--target") == ["web"]
    assert words[-1] == "/shop"
    assert "--no-cache" not in words
    assert "--no-cache" in build_arguments(DOCKER, build, "tag", {}, no_cache=True)[0]


def test_a_container_gets_the_directory_of_the_redis_socket(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "redis.sock").symlink_to("run/redis.sock")
    env, mounts = backing_environment(MANIFEST, "127.0.0.1:5555", f"unix://{tmp_path}/redis.sock?db=1")
    assert env == {
        "MINIKUBE_REGISTRY": "127.0.0.1:5555",
        "REDIS_URL": "unix:///run/minikube/redis/redis.sock?db=1",
        "MINIKUBE_REDIS_URL": "unix:///run/minikube/redis/redis.sock?db=1",
        "MINIKUBE_PYTHON": "python3",
    }
    assert mounts == (VolumeSpec(str(tmp_path / "run"), "/run/minikube/redis"),)


def test_a_container_gets_the_token_and_the_certificate() -> None:
    tls = TlsSettings(Path("/c.pem"), Path("/k.pem"))
    registry = RegistrySettings(HostPort("0.0.0.0", 5555), token="t0ken", tls=tls, advertise="10.0.0.1:5555")
    env, mounts = backing_environment(msgspec.structs.replace(MANIFEST, registry=registry), "x", "redis://me:pw@h/0")
    assert env == {
        "MINIKUBE_REGISTRY": "10.0.0.1:5555",
        "REDIS_URL": "redis://me:pw@h/0",
        "MINIKUBE_REDIS_URL": "redis://me:pw@h/0",
        "MINIKUBE_PYTHON": "python3",
        "MINIKUBE_REGISTRY_TOKEN": "t0ken",
        "MINIKUBE_REGISTRY_CA": "/run/minikube/ca.pem",
    }
    assert mounts == (VolumeSpec("/c.pem", "/run/minikube/ca.pem", read_only=True),)


def test_variables_that_would_change_the_client_go_into_a_file() -> None:
    env = {"PORT": "80", "PATH": "/bin", "DOCKER_HOST": "tcp://x", "TEXT": "a\nb"}
    plain, filed = split_environment(env, {"PATH": "/usr/bin"})
    assert plain == {"PORT": "80", "TEXT": "a\nb"}
    assert filed == {"PATH": "/bin", "DOCKER_HOST": "tcp://x"}
    with pytest.raises(StartError, match=r"env\.PATH: a line break"):
        split_environment({"PATH": "a\nb"}, {"PATH": ""})


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable "
            'to start container process: exec: "nosuch": executable file not found in $PATH: unknown\n',
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            "Step 1/2 : FROM x\nThe command 'false' returned a non-zero code: 1\n",
            "The command 'false' returned a non-zero code: 1",
        ),
        (
            "docker: Error response from daemon: pull access denied for x.\nSee 'docker run --help'.\n",
            "pull access denied for x",
        ),
        ("Error: no such object: x", "no such object: x"),
        (
            "unknown flag: --x\n\nUsage:  docker create [OPTIONS] IMAGE\n\nRun 'docker create --help' for more information\n",
            "unknown flag: --x",
        ),
        ("Error: unknown flag: --x\nSee 'podman create --help'\n", "unknown flag: --x"),
        (
            f"Error: unable to start container {'a1' * 32}: crun: setrlimit: Operation not permitted",
            "crun: setrlimit: Operation not permitted",
        ),
        ("", "no error message"),
    ],
)
def test_the_error_of_an_engines_output_is_one_line_without_prefixes(output: str, line: str) -> None:
    assert error_line(output) == line


@pytest.mark.parametrize(
    ("message", "unreachable"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", True),
        ("error during connect: Get ...", True),
        ("Cannot connect to Podman. Please verify your connection", True),
        ("Error response from daemon: No such image: x", False),
        ('Get "https://localhost/v2/": dial tcp 127.0.0.1:443: connect: connection refused', False),
    ],
)
def test_an_unreachable_engine_differs_from_an_engine_that_reports_an_error(message: str, unreachable: bool) -> None:
    assert is_unreachable(message) is unreachable
