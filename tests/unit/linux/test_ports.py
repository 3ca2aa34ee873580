"""Which port an instance gets, and what keeps it from one."""

import errno
import os
import socket
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace

from minikube.errors import PortTaken
from minikube.linux import ports
from minikube.linux.ports import PortAllocator, choose_port, is_free
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.interface import Launch, Runtime
from minikube.supervisor.runtime.process.runtime import ProcessRuntime

SPEC = ServiceSpec("x", Path("/"), ("run",), host="127.0.0.1")


def test_who_has_the_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"x: port {port} is taken by pid {os.getpid()} \("):
            choose_port(replace(SPEC, port=port), 0, frozenset())


@pytest.mark.parametrize(
    ("number", "free"),
    [(errno.EADDRINUSE, False), (errno.EADDRNOTAVAIL, False), (errno.EACCES, False), (errno.EMFILE, None)],
)
def test_a_shortage_of_ours_is_nobody_elses_port(
    monkeypatch: pytest.MonkeyPatch, number: int, free: bool | None
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", refuse)
    if free is None:
        with pytest.raises(OSError, match="Too many open files"):
            is_free("127.0.0.1", 80)
    else:
        assert is_free("127.0.0.1", 80) is free


def test_a_name_without_an_address_is_no_place_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert not is_free("nowhere.invalid", 80)


class Quick(ProcessRuntime):
    async def _start(self, launch: Launch, port: int) -> Any:
        await trio.lowlevel.checkpoint()
        return port


class Boxed(ContainerRuntime):
    def _found(self) -> Any:
        return None

    async def _start(self, client: object, launch: Launch, port: int) -> Any:
        await trio.lowlevel.checkpoint()
        return port


def runtimes() -> tuple[Runtime, Runtime]:
    claims, any_of_it = PortAllocator(), cast(Any, None)
    processes = Quick(any_of_it, any_of_it, any_of_it, claims)
    return processes, Boxed(any_of_it, any_of_it, any_of_it, any_of_it, any_of_it, claims)


@pytest.mark.parametrize("kinds", [(0,), (1,), (0, 1)])
async def test_who_starts_at_the_same_time_chooses_another_port(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[int, ...]
) -> None:
    """Also where the first have started before the last may choose, and whatever runs them."""
    monkeypatch.setattr(ports, "is_free", lambda *_: True)
    spec, both = replace(SPEC, auto_port=True, port_range=(26000, 26019)), runtimes()
    running: dict[int, int] = {}

    async def start(number: int) -> None:
        launch = Launch(spec, str(number), str(number), taken=lambda: frozenset(running.values()))
        # What `start` returns is known to `taken` at once, as a runner's port is.
        running[number] = cast(int, await both[kinds[number % len(kinds)]].start(launch))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(start, number)
    assert sorted(running.values()) == list(range(26000, 26020))
