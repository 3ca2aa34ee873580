"""The error for an address that a server cannot listen on."""

import socket

import pytest
import trio

from minikube.net.listen_errors import listen_error


def message(error: OSError) -> str:
    return str(listen_error("control", "h:1", error, "set control.listen"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "Address already in use — stop what listens there or set control.listen"),
        ("192.0.2.1", "Cannot assign requested address — set control.listen"),
    ],
)
async def test_the_error_contains_the_systems_reason_and_a_remedy(host: str, expected: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=r".") as refused:
            await trio.open_tcp_listeners(port, host=host)
    assert message(refused.value) == f"control: cannot listen on h:1: {expected}"


def test_a_name_that_cannot_be_resolved_has_its_reason_too() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert message(error) == "control: cannot listen on h:1: Name or service not known — set control.listen"
