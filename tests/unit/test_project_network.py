"""What an engine tells of a network, read whichever engine it is."""

import json

import pytest

from minikube.supervisor.network import Lan, read_lan

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
    ("told", "lan"),
    [
        (DOCKER, Lan("net", "172.18.0.1", "172.18.0.0/16")),
        (PODMAN, Lan("net", "10.89.0.1", "10.89.0.0/24")),
        ([{"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}], None),
        ([{"IPAM": {"Config": None}}], None),
        ([], None),
        ([{}], None),
    ],
)
def test_the_first_gateway_with_an_ipv4_address_is_taken(told: object, lan: Lan | None) -> None:
    assert read_lan("net", json.dumps(told)) == lan


def test_what_is_no_json_is_no_network() -> None:
    assert read_lan("net", "Error: no such network") is None
