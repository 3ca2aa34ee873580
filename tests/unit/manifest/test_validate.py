"""What no single value can show: runtimes, dependencies, ports, addresses beyond loopback."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.errors import UsageError
from minikube.manifest import PortSpec, ServiceSpec, is_loopback
from minikube.manifest.keys.volumes import parse_volume
from minikube.manifest.validate import MAX_REPLICAS, check_replicas, find_cycles
from minikube.manifest.values import has_ipv4_loopback
from tests.unit.manifest.test_parser import build

RUN = {"command": "run"}


def services(**raw: dict[str, Any]) -> dict[str, Any]:
    return {"services": {name: {**RUN, **keys} for name, keys in raw.items()}}


def test_a_service_with_a_bad_image_has_no_other_problem_for_that() -> None:
    raw = {"services": {"x": {"image": "", "ports": {"a": {"port": "auto", "container_port": 1}}}}}
    (problem,) = build(raw)[1]
    assert "services.x.image: expected the name of an image without white space" in problem
    for image in ("x y", " redis:7", "redis\t"):
        (problem,) = build({"services": {"x": {"image": image}}})[1]
        assert "services.x.image: expected the name of an image without white space, such as redis:7, got" in problem


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            {"services": {"x": {}}},
            "services.x: expected command or shell (a process) or image/build (a container), got none of them",
        ),
        (
            services(x={"ports": {"a": {"container_port": 1}}}),
            "services.x.ports.a.container_port: expected image or build",
        ),
        (
            {"services": {"x": {"image": "i", "network": "host", "ports": {"a": {"container_port": 1}}}}},
            'services.x.ports.a.container_port: expected none with network = "host"',
        ),
        (services(x={"ports": ["8080:80"]}), "(did you mean port = 8080 and container_port = 80?)"),
        (services(x={"ports": [80]}), "(did you mean port = 80?)"),
        (
            services(x={"ports": ["8080:80", "53:53/udp", 9000]}),
            "(did you mean { p8080 = { port = 8080, container_port = 80 },"
            ' p53 = { port = 53, container_port = 53, protocol = "udp" }, p9000 = 9000 }?)',
        ),
        (services(x={"ports": ["80:80", "what"]}), "services.x.ports: expected"),
        (
            services(x={"ports": {"a": 80}, "replicas": 2}),
            'services.x.ports.a: expected "auto" or a range of at least 2 ports, one for each replica, got 80',
        ),
        (
            services(x={"port": 80}, y={"ports": {"web": "79-81"}}),
            'services.y.ports.web: expected a port of its own or "auto", got 80, which services.x.port has',
        ),
        (
            {"services": {"x": {"image": "i", "extra_hosts": {"a": "b"}}}},
            'services.x.extra_hosts.a: expected an IP address, or "host-gateway" for this machine, got "b"',
        ),
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
            "services.x.volumes[0]: expected source:/target, source:/target:ro or /target, where",
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
            {**services(x={"port": 5556}), "control": {"listen": "127.0.0.1:5556"}},
            'services.x.port: expected a port of its own or "auto", got 5556, which control.listen has',
        ),
        (
            {"registry": {"listen": "localhost:9"}, "control": {"listen": "127.0.0.1:9"}},
            "control.listen: expected a port of its own",
        ),
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
    ("raw", "moved"),
    [
        (services(x={"port": 5555}), {"registry"}),
        (services(x={"port": "5550-5556", "host": "0.0.0.0"}), {"registry", "control"}),
        (services(x={"port": 5555, "host": "127.0.0.2"}), set()),
        ({"control": {"listen": "localhost:5555"}}, {"registry"}),
        ({"registry": {"listen": "127.0.0.1:5556"}}, {"control"}),
        ({"services": {"x": {"image": "i", "container_port": 80, "port": 5555}}}, {"registry"}),
    ],
)
def test_a_default_port_moves_away_from_a_port_that_the_manifest_sets(raw: dict[str, Any], moved: set[str]) -> None:
    manifest, problems = build(raw)
    assert problems == []
    assert {name for name in ("registry", "control") if not getattr(manifest, name).listen.port} == moved
    assert {warning.split(".listen: ")[0].rpartition(" ")[2] for warning in manifest.warnings} == moved
    assert all("so a free one is used" in warning for warning in manifest.warnings)


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


@pytest.mark.parametrize("network", ["project", "host"])
def test_a_container_that_needs_a_process_and_registers_itself_is_no_warning(network: str) -> None:
    y = {"image": "i", "network": network, "depends_on": ["x"], "register": "self", "port": 2}
    manifest, problems = build({"services": {"x": {"command": "x", "port": 1}, "y": y}})
    assert (manifest.warnings, problems) == ((), [])


def test_a_container_that_reaches_the_registry_where_its_certificate_does_not_lead_is_a_warning() -> None:
    tls = {"cert": "c.pem", "key": "k.pem"}
    y = {"image": "i", "port": 1, "register": "self"}
    (warning,) = build({"registry": {"tls": tls}, "services": {"y": y}})[0].warnings
    assert 'hardly names — set network = "host", or register = "supervisor"' in warning
    for fine in ({**y, "network": "host"}, {**y, "register": "supervisor"}, {"command": "run", "register": "self"}):
        assert build({"registry": {"tls": tls}, "services": {"y": fine}})[0].warnings == ()
    assert build({"registry": {"tls": tls, "advertise": "r:5555"}, "services": {"y": y}})[0].warnings == ()


def test_replicas_of_a_container_are_published_on_ports_of_their_own() -> None:
    _, problems = build({"services": {"x": {"image": "i", "port": 80, "container_port": 80, "replicas": 2}}})
    assert [str(problem) for problem in problems if "services.x.port" in str(problem)]


def test_a_container_without_the_certificate_that_the_registry_wants_is_a_warning() -> None:
    tls = {"cert": "c.pem", "key": "k.pem", "ca": "ca.pem"}
    own = {"MINIKUBE_REGISTRY_CERT": "/own.pem", "MINIKUBE_REGISTRY_KEY": "/own.key"}
    y = {"image": "i", "port": 1, "register": "self", "network": "host"}
    manifest, problems = build({"registry": {"tls": tls}, "services": {"y": y}})
    assert problems == []
    (warning,) = manifest.warnings
    assert "services.y.register: the registry wants a certificate of its clients (registry.tls.ca)" in warning
    assert "set env.MINIKUBE_REGISTRY_CERT and env.MINIKUBE_REGISTRY_KEY" in warning
    for fine in ({**y, "env": own}, {**y, "register": "supervisor"}, {"command": "run", "register": "self"}):
        assert build({"registry": {"tls": tls}, "services": {"y": fine}})[0].warnings == ()


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
        (
            _service(ports={"any": PortSpec(), "debug": PortSpec(9230)}),
            2,
            (),
            'web: 2 replicas, but only 1 ports — set services.web.ports.debug = "auto"',
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
        (_service(auto_port=True, runtime="container", image="x", container_port=80), 2, ()),
        (_service(auto_port=True, port_range=(80, 81)), 2, ()),
    ],
)
def test_a_number_of_replicas_that_can_be_is_accepted(spec: ServiceSpec, replicas: int, names: tuple[str, ...]) -> None:
    check_replicas(spec, replicas, names)


def test_a_wrong_name_hides_no_other_mistake_of_its_service() -> None:
    broken = {"comand": "x", "port": 0, "health": {"tcp": True}, "depends_on": ["nope"]}
    _, problems = build({"services": {"a_b": broken, "Web.1": {"command": "x", "restart": "no"}, "ok": RUN}})
    assert [problem.partition(":")[0] for problem in problems] == [
        "services.a_b",
        "services.a_b.comand",
        "services.a_b.port",
        'services."Web.1"',
        'services."Web.1".restart',
        "services.a_b.depends_on.nope",
    ]
    assert problems[0].endswith("as the key (did you mean a-b?)")
    assert problems[3].endswith("as the key (did you mean web-1?)")
    _, (_, missing) = build({"services": {"a b": {"command": "x", "volumes": ["d:/d"]}}})
    assert missing.startswith('services."a b".volumes: expected image or build beside it')


def test_a_name_that_cannot_be_mended_gets_no_suggestion() -> None:
    for name in ("___", "ü", "a" * 64):
        (problem,) = build({"services": {name: RUN}})[1]
        assert problem.endswith("1 to 63 characters as the key")


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (services(x={"environment": {"A": "1"}}), "services.x.environment: unknown key, .*did you mean env"),
        (services(x={"restart": "unless-stopped"}), "services.x.restart: .*did you mean always"),
        (services(x={"restart": "no"}), "services.x.restart: .*did you mean never"),
        (services(x={"restart": {"policy": "on_failure"}}), "services.x.restart.policy: .*did you mean on-failure"),
        (services(x={"healthcheck": {}}), "did you mean health"),
        (services(x={"working_dir": "."}), "did you mean cwd"),
        (services(x={"Directory": "."}), "did you mean cwd"),
        (services(x={"stop_grace_period": "1s"}), r"did you mean stop\.timeout"),
        (services(x={"mem_limit": "1G"}), r"did you mean limits\.memory"),
        (services(x={"numprocs": 2}), "did you mean replicas"),
        (services(x={"port": 1, "health": {"tcp": True, "retries": 3}}), "health.retries: .*did you mean failures"),
        (
            services(x={"port": 1, "health": {"test": ["CMD", "x"], "tcp": True}}),
            "health.test: .*did you mean command or shell",
        ),
        (services(x={"depends_on": {"y": "service_healthy"}}, y={"port": 1}), "depends_on.y: .*did you mean healthy"),
        ({"processes": {}}, "processes: unknown key, .*did you mean services"),
        ({"version": "3"}, "did you mean no version: leave it out"),
        (services(x={"entrypoint": "a"}), "did you mean command"),
        (services(x={"replica": 1}), r"\(did you mean replicas\?\)"),
    ],
)
def test_the_words_of_other_tools_get_a_hint(raw: dict[str, Any], hint: str) -> None:
    _, problems = build(raw)
    assert len(problems) == 1
    assert re.search(hint, problems[0])


@pytest.mark.parametrize(
    ("key", "value", "least"),
    [
        ("memory", "0", "64K"),
        ("memory", 0, "64K"),
        ("memory", "1K", "64K"),
        ("as", 0, "64K"),
        ("data", "0", "64K"),
        ("stack", "0", "64K"),
        ("pids", 0, "1"),
        ("cpu", 0, "1"),
        ("nofile", 2, "3"),
    ],
)
def test_a_limit_with_which_nothing_starts_is_an_error(key: str, value: Any, least: str) -> None:
    (problem,) = build(services(x={"limits": {key: value}}))[1]
    assert f"services.x.limits.{key}: expected at least {least}, as no process starts with less, got" in problem


def test_a_limit_of_nothing_is_fine_where_processes_start_with_it() -> None:
    limits = {"core": 0, "fsize": 0, "memlock": "0", "nproc": 0, "rtprio": 0, "memory": "64K", "pids": 1}
    assert build(services(x={"limits": limits}))[1] == []


@pytest.mark.parametrize("item", ["*", "10.0.0.0/8", "10.0.0.1", "fd00::/8", "[::1]", "db.example.org", "my_host"])
def test_a_host_or_network_of_allow_checks_is_taken(item: str) -> None:
    assert build({"registry": {"allow_checks": [item]}})[1] == []


@pytest.mark.parametrize(
    "item", ["10.0.0.0/33", "10.0.0", "10.0.0.1:80", "h:80", "http://h", "*.example.org", "", "h/8", "[::1", "a b", "1"]
)
def test_another_item_of_allow_checks_is_an_error(item: str) -> None:
    (problem,) = build({"registry": {"allow_checks": ["10.0.0.0/8", item]}})[1]
    assert problem.startswith('registry.allow_checks[1]: expected "*" for any, a host without a port, or a network')


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("src/[z-a]*", "the part in brackets is malformed"),
        ("[[:foo:]]", "the part in brackets is malformed"),
        ("~no-such-user/src", "there is no such user"),
        ("!", "expected a path or pattern"),
        ("!a\\", "expected a path or pattern"),
        ("a\\/", "expected a path or pattern"),
    ],
)
def test_a_pattern_that_cannot_be_watched_is_an_error(pattern: str, reason: str) -> None:
    (problem,) = build(services(x={"watch": ["src", pattern]}))[1]
    assert problem.startswith("services.x.watch[1]: expected a path or pattern as in .gitignore")
    assert reason in problem


@pytest.mark.parametrize("pattern", ["src/[ab]*.py", "!x[!0-9]", "a\\ b", "**/x", "~/src", "["])
def test_any_other_pattern_is_taken(pattern: str) -> None:
    assert build(services(x={"watch": [pattern]}))[1] == []


def test_a_volume_in_the_home_of_an_unknown_user_is_an_error() -> None:
    (problem,) = build({"services": {"x": {"image": "i", "volumes": ["~nobody-here/x:/d"]}}})[1]
    assert problem == 'services.x.volumes[0]: expected a path, got "~nobody-here/x", and there is no such user'


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.2", True), ("0.0.0.0", True), ("localhost", True), ("10.0.0.1", False), ("::1", False), ("shop", False)],
)
def test_a_server_is_reached_by_ipv4_over_loopback_at_its_addresses_and_at_all(host: str, reached: bool) -> None:
    assert has_ipv4_loopback(host) is reached
