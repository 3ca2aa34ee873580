"""What engines say of their networks and of themselves is understood; what they do not say is no obstacle."""

import json

import pytest

from minikube.defaults import CONTAINER_LABEL
from minikube.engine.networks import ContainerNetwork, is_on_this_machine, lacks_network, read_container_network

DOCKER = [
    {
        "IPAM": {
            "Config": [
                {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
                {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"},
            ]
        }
    }
]
PODMAN = [{"subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}]}]


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (DOCKER, ContainerNetwork("net", "172.18.0.1", "172.18.0.0/16")),
        (PODMAN, ContainerNetwork("net", "10.89.0.1", "10.89.0.0/24")),
        ([{"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}], None),
        ([{"IPAM": {"Config": None}}], None),
        ([], None),
        ([{}], None),
    ],
)
def test_the_first_gateway_with_an_ipv4_address_is_taken(
    description: object, expected: ContainerNetwork | None
) -> None:
    assert read_container_network("net", json.dumps(description)) == expected


def test_an_error_message_in_place_of_json_is_no_network() -> None:
    assert read_container_network("net", "Error: no such network") is None


def test_the_mark_of_the_project_that_made_a_network_is_read_from_both_spellings() -> None:
    for key, found in (("Labels", DOCKER[0]), ("labels", PODMAN[0])):
        network = read_container_network("net", json.dumps([{**found, key: {f"{CONTAINER_LABEL}.mark": "0123"}}]))
        assert network is not None
        assert network.mark == "0123"


@pytest.mark.parametrize(
    ("options", "has_bridge"),
    [
        ({}, False),
        ({"com.docker.network.bridge.name": "no-such-one"}, False),
        ({"com.docker.network.bridge.name": "lo"}, True),
    ],
)
def test_dockers_network_is_on_this_machine_where_its_bridge_is(options: dict[str, str], has_bridge: bool) -> None:
    """Docker Desktop, an engine in a virtual machine or behind DOCKER_HOST has its bridges elsewhere."""
    found = {**DOCKER[0], "Id": "f" * 64, "Scope": "local", "Driver": "bridge", "Options": options}
    network = read_container_network("net", json.dumps([found]))
    assert network is not None
    assert network.has_bridge is has_bridge


def test_an_engine_that_makes_its_bridge_with_the_first_container_is_not_asked_for_it() -> None:
    network = read_container_network("net", json.dumps([{**PODMAN[0], "network_interface": "podman77"}]))
    assert network is not None
    assert network.has_bridge


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=default"]}, True),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, False),
        ({"SecurityOptions": None}, True),
        ({"host": {"security": {"rootless": False}, "serviceIsRemote": False}}, True),
        ({"host": {"security": {"rootless": True}, "serviceIsRemote": False}}, False),
        ({"host": {"security": {"rootless": False}, "serviceIsRemote": True}}, False),
        ({}, True),
        (28.0, True),
    ],
)
def test_an_engine_without_root_or_on_another_machine_is_told_apart(info: object, expected: bool) -> None:
    assert is_on_this_machine(json.dumps(info)) is expected


def test_an_engine_that_says_nothing_of_itself_is_taken_for_one_of_this_machine() -> None:
    assert is_on_this_machine("Client: 1.0\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Error response from daemon: network minikube-shop-net not found", True),
        ("Error: unable to find network with name or ID net: network not found", True),
        ("Error: image network:1 not known", False),
        ("Error response from daemon: No such container: network", False),
    ],
)
def test_the_message_that_a_network_is_gone_is_understood(text: str, expected: bool) -> None:
    assert lacks_network(text) is expected
