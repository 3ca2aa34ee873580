"""Which services containers reach through this machine, and at which ports of running instances."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from minikube.control.state_store import StateStore
from minikube.manifest import ServiceSpec
from minikube.model import Address, CheckState, Instance
from minikube.supervisor.reconcile.host_services import find_host_services
from minikube.supervisor.runtime.container.host_relays import Endpoint
from tests.unit.supervisor.instance.fakes import SPEC

PROCESS = replace(SPEC, name="web", register="supervisor")
SELF = replace(PROCESS, register="self")
CONTAINER = replace(PROCESS, runtime="container", image="x")
PORTS = frozenset({("tcp", 80), ("tcp", 9230), ("udp", 53)})


def entry(host: str, port: int) -> Instance:
    return Instance("1", "web", Address(host, port), "ttl:", CheckState.PASSING)


def endpoints(
    spec: ServiceSpec, *, host: str = "127.0.0.1", ports: object = PORTS, found: Instance | None = None, pid: int = 7
) -> set[tuple[str, int]]:
    process = SimpleNamespace(pid=pid, host=host) if pid else None
    controller = SimpleNamespace(
        name="web-1", process=process, launched_spec=spec, used_ports=ports, registry_entry=found
    )
    replicas = cast(Any, SimpleNamespace(all={1: controller}.values()))
    services = find_host_services(lambda: {"web": spec}, replicas, StateStore("shop"))
    assert all(endpoint[:2] == ("web-1", 7) for endpoint in map(astuple, services.endpoints()))
    return {(endpoint.host, endpoint.port) for endpoint in services.endpoints()}


def astuple(endpoint: Endpoint) -> tuple[str, int, str, int]:
    return endpoint.instance, endpoint.pid, endpoint.host, endpoint.port


@pytest.mark.parametrize(
    ("spec", "reached"),
    [(PROCESS, True), (replace(CONTAINER, network="host"), True), (CONTAINER, False)],
    ids=("process", "container on this machine's network", "container on the project's network"),
)
def test_instances_on_this_machines_network_are_reached_at_their_tcp_ports(spec: ServiceSpec, reached: bool) -> None:
    assert endpoints(spec) == ({("127.0.0.1", 80), ("127.0.0.1", 9230)} if reached else set())
    services = find_host_services(lambda: {"web": spec}, cast(Any, SimpleNamespace(all=())), StateStore("shop"))
    assert services.names() == (frozenset({"web"}) if reached else frozenset())


def test_an_instance_that_does_not_run_is_not_reached() -> None:
    assert endpoints(PROCESS, pid=0) == set()


def test_what_listens_on_all_addresses_needs_no_help() -> None:
    assert endpoints(PROCESS, host="0.0.0.0") == endpoints(PROCESS, host="::") == set()


@pytest.mark.parametrize(
    ("spec", "found", "expected"),
    [
        (SELF, entry("127.0.0.1", 4000), {("127.0.0.1", 4000)}),
        (SELF, entry("10.0.0.1", 4000), set()),
        (PROCESS, entry("127.0.0.1", 4000), set()),  # another program's: it is not the project's
    ],
)
def test_an_instance_that_registered_itself_is_reached_where_it_said(
    spec: ServiceSpec, found: Instance, expected: set[tuple[str, int]]
) -> None:
    assert endpoints(spec, ports=frozenset(), found=found) == expected


def test_one_port_in_two_spellings_of_a_host_is_one() -> None:
    ports = frozenset({("tcp", 80)})
    assert endpoints(SELF, host="localhost", ports=ports, found=entry("127.0.0.1", 80)) == {("127.0.0.1", 80)}
