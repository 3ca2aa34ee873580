"""Which addresses a registry never probes, in each notation."""

import pytest

from minikube.health.refused_addresses import refusal

LINK_LOCAL = [
    *(
        "169.254.169.254",
        "169.254.0.1",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
    ),
    *("::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::FFFF:A9FE:A9FE%lo", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe"),
]


@pytest.mark.parametrize("host", LINK_LOCAL)
def test_an_ipv4_link_local_address_is_refused_in_each_notation(host: str) -> None:
    assert refusal(host) == "a link-local address"


@pytest.mark.parametrize("host", ["fd00:ec2::254", "FD00:0EC2::0254"])
def test_the_metadata_service_of_a_cloud_is_refused_over_ipv6(host: str) -> None:
    assert refusal(host) == "the address of a cloud's metadata service"


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_what_is_no_address_of_a_host_is_refused(host: str) -> None:
    assert refusal(host) == "no address of a host"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "0x7f.1",
        "fe80::1%lo",
        "fd00:ec2::253",
        "169.253.0.1",
        "64:ff9b::7f00:1",
        "shop",
        "",
    ],
)
def test_all_other_addresses_and_names_are_not_refused(host: str) -> None:
    assert refusal(host) == ""
