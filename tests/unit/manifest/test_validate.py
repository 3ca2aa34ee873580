"""What no single value can show: runtimes, dependencies, ports, addresses beyond loopback."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.errors import UsageError
from minikube.manifest import ServiceSpec, is_loopback
from minikube.manifest.containers import parse_volume
from minikube.manifest.validate import MAX_REPLICAS, check_replicas, find_cycles
from tests.unit.manifest.test_parser import build

RUN = {"command": "run"}


def services(**raw: dict[str, Any]) -> dict[str, Any]:
    return {"services": {name: {**RUN, **keys} for name, keys in raw.items()}}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            {"services": {"x": {}}},
            "services.x: expected command or shell (a process) or image/build (a container), got none of them",
        ),
        (services(x={"image": "i"}), "services.x: expected either command or image/build, got command and image"),
        (services(x={"image": "i", "build": "."}), "got command and image and build"),
        ({"services": {"x": {"command": "a", "init": True}}}, "services.x.init: expected image or build beside it"),
        (services(x={"runtime": "container"}), 'services.x.runtime: expected image or build for runtime = "container"'),
        (
            {"services": {"x": {"image": "i", "runtime": "process"}}},
            'services.x.runtime: expected command or shell for runtime = "process"',
        ),
        (
            {"services": {"x": {"image": "i", "cwd": "sub"}}},
            'services.x.cwd: expected an absolute path inside the container, got "sub"',
        ),
        (
            {"services": {"x": {"image": "i", "container_port": 80}}},
            'services.x.container_port: expected services.x.port to be set (or "auto")',
        ),
        (
            {"services": {"x": {"image": "i", "port": 80, "container_port": 80, "network": "host"}}},
            'services.x.container_port: expected no container_port with network = "host"',
        ),
        (
            {"services": {"x": {"image": "i", "volumes": ["data"]}}},
            "services.x.volumes[0]: expected source:/target or source:/target:ro",
        ),
        (services(x={"health": "/h"}), 'services.x.health: expected services.x.port to be set (or "auto")'),
        (services(x={"health": "tcp"}), "for a check by tcp"),
        (
            services(x={"port": 1, "replicas": 2}),
            'services.x.port: expected "auto" or a range with replicas = 2, got 1',
        ),
        (
            services(product={}, x={"depends_on": ["prodct"]}),
            "depends_on.prodct: expected a service of this manifest (did you mean product?)",
        ),
        (services(x={"depends_on": {"x": "started"}}), "services.x.depends_on: expected no cycle, got x → x"),
        (
            services(
                a={"depends_on": {"b": "started"}},
                b={"depends_on": {"c": "started"}},
                c={"depends_on": {"a": "started"}},
            ),
            "services.a.depends_on: expected no cycle, got a → b → c → a",
        ),
        (
            services(x={}, y={"depends_on": ["x"]}),
            'services.y.depends_on.x: expected services.x.health to be set, or the condition "started"',
        ),
        (services(x={"port": 1, "register": "none"}, y={"depends_on": ["x"]}), "expected services.x.health to be set"),
        (
            services(x={"port": 80}, y={"port": 80}),
            'services.y.port: expected a port of its own or "auto", got 80, which services.x.port has',
        ),
        (
            services(x={"port": 5556}),
            'services.x.port: expected a port of its own or "auto", got 5556, which control.listen has',
        ),
        ({"control": {"listen": "127.0.0.1:5555"}}, "control.listen: expected a port of its own"),
        (services(x={"port": 80, "host": "0.0.0.0"}, y={"port": 80}), "services.y.port: expected a port of its own"),
        (services(x={"port": 80, "host": "localhost"}, y={"port": 80}), "services.y.port: expected a port of its own"),
        (
            services(x={"port": 80, "profiles": ["a"]}, y={"port": 80, "profiles": ["b", "a"]}),
            "services.y.port: expected a port",
        ),
        (services(x={"port": "80-89"}, y={"port": "85-95"}), "services.y.port: expected a port of its own"),
        (services(x={"port": "80-89"}, y={"port": 89}), "got 89, which services.x.port has"),
        (
            services(x={"port": "80-82", "replicas": 4}),
            "expected a port for each of 4 replicas, got 80-82, which are 3",
        ),
        (
            {"services": {"x": {**RUN, "replicas": 2}, "x-2": RUN}},
            "services.x-2: expected another name, replica 2 of x is called x-2",
        ),
        (
            {"registry": {"listen": "0.0.0.0:1"}},
            "registry.listen: 0.0.0.0:1 is beyond loopback without registry.token and registry.tls — set",
        ),
        ({"registry": {"listen": "host.lan:1", "token": "t"}}, "beyond loopback without registry.tls — set"),
        (
            {"registry": {"listen": "[::]:1", "tls": {"cert": "c", "key": "k"}}},
            "[::]:1 is beyond loopback without registry.token — set",
        ),
        (
            services(x={"schedule": "@daily", "restart": "always"}),
            'services.x.restart: expected "never" or "on-failure" with a schedule',
        ),
        (services(x={"schedule": "@daily", "watch": ["src"]}), "services.x.watch: expected either watch or schedule"),
        (
            services(x={"schedule": "@daily", "port": 1}, y={"depends_on": ["x"]}),
            'services.y.depends_on.x: expected the condition "completed", x runs on a schedule',
        ),
        ({"control": {"listen": "0.0.0.0:9"}}, "control.listen: 0.0.0.0:9 is beyond loopback"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused(raw: dict[str, Any], problem: str) -> None:
    _, problems = build(raw)
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    "raw",
    [
        services(x={"port": "auto", "replicas": 3, "health": "/h"}),
        services(x={"register": "self"}, y={"depends_on": ["x"]}),
        services(x={"port": 80}, y={"depends_on": ["x"]}),
        services(x={"health": {"log": "up"}}, y={"depends_on": ["x"]}),
        services(x={"health": "http://127.0.0.1:9/h"}),
        services(x={"port": 80, "host": "127.0.0.1"}, y={"port": 80, "host": "127.0.0.2"}),
        services(x={"port": 80, "profiles": ["a"]}, y={"port": 80, "profiles": ["b"]}),
        services(a={"depends_on": {"b": "started", "c": "started"}}, b={"depends_on": {"c": "started"}}, c={}),
        {"registry": {"listen": "0.0.0.0:1", "token": "t", "tls": {"cert": "c", "key": "k"}}},
        {"registry": {"listen": "127.0.0.1:0"}, "control": {"listen": "127.0.0.1:0"}},
        {"registry": {"listen": "auto"}, "control": {"listen": "auto"}},
        services(x={"schedule": "@daily"}, y={"depends_on": {"x": "completed"}}),
    ],
)
def test_a_combination_that_does_is_taken(raw: dict[str, Any]) -> None:
    manifest, problems = build(raw)
    assert problems == []
    assert manifest.warnings == ()


@pytest.mark.parametrize(
    ("raw", "only"),
    [
        ({"registry": {"listen": "0.0.0.0:1", "token": 5, "tls": 5}}, {"registry.token", "registry.tls"}),
        (services(x={"port": 0, "health": "/h"}), {"services.x.port"}),
        (services(x={"health": "h"}, y={"depends_on": ["x"]}), {"services.x.health"}),
        ({"services": {"x": 5, "y": {**RUN, "depends_on": ["x"]}}}, {"services.x"}),
    ],
)
def test_a_consequence_of_a_reported_problem_is_not_reported(raw: dict[str, Any], only: set[str]) -> None:
    assert {problem.partition(":")[0] for problem in build(raw)[1]} == only


def test_waiting_for_the_end_of_what_is_always_restarted_is_a_warning() -> None:
    manifest, problems = build(services(x={}, y={"depends_on": {"x": "completed"}}))
    assert problems == []
    assert "x is restarted whenever it ends" in manifest.warnings[0]


def test_ending_for_its_check_what_is_never_restarted_is_a_warning() -> None:
    manifest, problems = build(services(x={"port": 1, "health": {"tcp": True, "restart_after": 5}, "restart": "never"}))
    assert problems == []
    assert 'it ends the instance, and restart = "never" leaves it at that' in manifest.warnings[0]


def test_a_volume_is_a_path_or_has_a_plain_name() -> None:
    with pytest.raises(ValueError, match="or a volume's name"):
        parse_volume("no name:/data")


def test_a_container_that_cannot_reach_what_it_needs_is_a_warning() -> None:
    raw = {"x": {"command": "x", "port": 1}, "y": {"image": "i", "network": "project", "depends_on": ["x"]}}
    manifest, problems = build({"services": raw})
    assert problems == []
    assert 'x listens on 127.0.0.1, which a container with network = "project" cannot reach' in manifest.warnings[0]


def test_a_container_without_the_certificate_that_the_registry_wants_is_a_warning() -> None:
    tls = {"cert": "c.pem", "key": "k.pem", "ca": "ca.pem"}
    own = {"MINIKUBE_REGISTRY_CERT": "/own.pem", "MINIKUBE_REGISTRY_KEY": "/own.key"}
    y = {"image": "i", "port": 1, "register": "self"}
    manifest, problems = build({"registry": {"tls": tls}, "services": {"y": y}})
    assert problems == []
    (warning,) = manifest.warnings
    assert "services.y.register: the registry wants a certificate of its clients (registry.tls.ca)" in warning
    assert "set env.MINIKUBE_REGISTRY_CERT and env.MINIKUBE_REGISTRY_KEY" in warning
    for fine in ({**y, "env": own}, {**y, "register": "supervisor"}, {"command": "run", "register": "self"}):
        assert build({"registry": {"tls": tls}, "services": {"y": fine}})[0].warnings == ()


def test_a_container_that_cannot_reach_the_registry_to_register_itself_is_a_warning() -> None:
    keys = {"image": "i", "port": 1, "container_port": 80}
    manifest, problems = build({"services": {"y": {**keys, "register": "self"}}})
    assert problems == []
    (warning,) = manifest.warnings
    assert "services.y.register: a container with a container_port cannot reach the registry on 127.0.0.1" in warning
    assert 'set register = "supervisor", or network = "host" or "project" in place of container_port' in warning
    for fine in ({**keys, "register": "supervisor"}, {"image": "i", "port": 1, "register": "self"}):
        assert build({"services": {"y": fine}})[0].warnings == ()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("fe80::1%eth0", False),
    ],
)
def test_what_stays_within_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


NAMES = "abcdefg"
graphs = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4).map(tuple), max_size=7)


@given(graphs)
def test_cycles_are_found_exactly_where_there_are_any(edges: dict[str, tuple[str, ...]]) -> None:
    cycles = find_cycles(edges)
    for cycle in cycles:
        assert all(after in edges[name] for name, after in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    left = dict(edges)
    while free := [name for name, needs in left.items() if not any(need in left for need in needs)]:
        for name in free:
            del left[name]
    assert bool(cycles) == bool(left)


def _service(**fields: Any) -> ServiceSpec:
    return ServiceSpec(name="web", cwd=Path("/"), command=("run",), **fields)


@pytest.mark.parametrize(
    ("spec", "replicas", "names", "error"),
    [
        (_service(), MAX_REPLICAS + 1, (), f"replicas: expected 0 to {MAX_REPLICAS}, got {MAX_REPLICAS + 1}"),
        (_service(), -1, (), f"replicas: expected 0 to {MAX_REPLICAS}, got -1"),
        (
            _service(port=80),
            2,
            (),
            'web: all replicas would listen on port 80 — set services.web.port = "80-89" or "auto"',
        ),
        (
            _service(auto_port=True, port_range=(80, 81)),
            3,
            (),
            "web: 3 replicas, but only 2 ports — widen services.web.port",
        ),
        (_service(), 2, ("web-2",), "web: a replica would be called web-2, as another service is — rename that"),
    ],
)
def test_a_number_of_replicas_that_cannot_be_is_refused(
    spec: ServiceSpec, replicas: int, names: tuple[str, ...], error: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_replicas(spec, replicas, names)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("spec", "replicas", "names"),
    [
        (_service(), MAX_REPLICAS, ()),
        (_service(port=80), 1, ("web-1",)),
        (_service(port=80, runtime="container", image="x", network="project"), 2, ()),
        (_service(auto_port=True, port_range=(80, 81)), 2, ()),
    ],
)
def test_a_number_of_replicas_that_can_be_is_accepted(spec: ServiceSpec, replicas: int, names: tuple[str, ...]) -> None:
    check_replicas(spec, replicas, names)
