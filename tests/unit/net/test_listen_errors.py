"""Why a server of ours cannot listen, in one line."""

import socket

import pytest
import trio

from minikube.net.listen_errors import listen_error


def said(error: OSError) -> str:
    return str(listen_error("control", "h:1", error, "set control.listen"))


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "Address already in use — stop what listens there or set control.listen"),
        ("192.0.2.1", "Cannot assign requested address — set control.listen"),
    ],
)
async def test_what_the_system_says_is_told(host: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=r".") as refused:
            await trio.open_tcp_listeners(port, host=host)
    assert said(refused.value) == f"control: cannot listen on h:1: {told}"


def test_a_name_that_is_none_is_told_too() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert said(error) == "control: cannot listen on h:1: Name or service not known — set control.listen"
