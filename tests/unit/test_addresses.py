"""`host:port`, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.addresses import join_host_port, split_host_port

HOSTS = st.one_of(st.ip_addresses().map(str), st.sampled_from(["localhost", "a-b.example", "fe80::1%eth0"]))


@given(HOSTS, st.integers(0, 65_535))
def test_what_is_joined_is_split_again(host: str, port: int) -> None:
    assert split_host_port(join_host_port(host, port)) == (host, port)


def test_an_ipv6_address_is_in_brackets_and_is_understood_without() -> None:
    assert join_host_port("::1", 5555) == "[::1]:5555"
    assert join_host_port("localhost", 5555) == "localhost:5555"
    assert split_host_port("::1:5555") == ("::1", 5555)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5555", "a", "a:", ":5555", "[]:1", "[::1]", "[::1:5", "::1]:5"),
        *("a:x", "a:-1", "a:65536", "a:0000800000", "a:²", "a: 1", "a:1\n"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        split_host_port(text)
