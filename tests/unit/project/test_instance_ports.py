"""Which ports an instance gets: those of the manifest, of its last start, or free ones; what is said where one is taken."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from minikube.errors import PortTaken
from minikube.linux.ports import SOCKET_TYPES
from minikube.manifest import PortSpec, ServiceSpec
from minikube.manifest.spec import Protocol
from minikube.project import instance_ports
from minikube.project.instance_ports import InstancePorts, choose_ports, fixed_ports, ports_after_edit
from tests.ports import refuse_ports

SPEC = ServiceSpec("x", Path("/"), ("run",), host="127.0.0.1")
NAMED = replace(
    SPEC,
    port=7000,
    ports={
        "debug": PortSpec(7001),
        "http-admin": PortSpec(),
        "dns": PortSpec(port_range=(7000, 7002), protocol="udp"),
        "web": PortSpec(port_range=(7000, 7003), container_port=80),
    },
)


@pytest.fixture
def all_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port of this machine is free, and the kernel would choose 9000."""
    monkeypatch.setattr(instance_ports, "find_obstacle", lambda *_, **__: None)
    monkeypatch.setattr(instance_ports, "is_free", lambda *_: True)
    monkeypatch.setattr(instance_ports, "free_port", lambda host, used, protocol: max(9000, *used) + 1)


@pytest.mark.usefixtures("all_free")
def test_an_instance_gets_each_of_its_ports_and_none_twice() -> None:
    """A UDP port is another one than the TCP port with its number; a range has no fixed port of the same instance."""
    chosen = choose_ports(NAMED, InstancePorts(), frozenset({("tcp", 7002), ("udp", 7000)}))
    assert chosen == InstancePorts(7000, {"debug": 7001, "http-admin": 9001, "dns": 7001, "web": 7003})
    assert chosen.variables == {
        "PORT": "7000",
        "PORT_DEBUG": "7001",
        "PORT_HTTP_ADMIN": "9001",
        "PORT_DNS": "7001",
        "PORT_WEB": "7003",
    }
    assert chosen.used(NAMED) == {("tcp", 7000), ("tcp", 7001), ("tcp", 9001), ("udp", 7001), ("tcp", 7003)}
    assert chosen.in_container(NAMED).named == {**chosen.named, "web": 80}


@pytest.mark.usefixtures("all_free")
def test_a_restart_keeps_the_ports_that_are_still_free() -> None:
    last = InstancePorts(7000, {"debug": 7001, "http-admin": 8500, "dns": 7002, "web": 7002, "gone": 1})
    chosen = choose_ports(NAMED, last, frozenset({("tcp", 7002)}))
    assert chosen == InstancePorts(7000, {"debug": 7001, "http-admin": 8500, "dns": 7002, "web": 7003})


@pytest.mark.usefixtures("all_free")
def test_after_an_edit_only_the_ports_stay_that_the_manifest_still_allows() -> None:
    """A port of another range is given up, as is one that is fixed now; a chosen one stays, whatever else was edited."""
    last = InstancePorts(8000, {"debug": 7001, "http-admin": 8500, "web": 7002})
    edited = replace(
        NAMED,
        port=0,
        auto_port=True,
        ports={"debug": PortSpec(), "http-admin": PortSpec(8600), "web": PortSpec(port_range=(7100, 7103))},
    )
    kept = ports_after_edit(edited, last)
    assert kept == InstancePorts(8000, {"debug": 7001, "http-admin": 8600, "web": 7002})
    assert choose_ports(edited, kept, frozenset()) == InstancePorts(
        8000, {"debug": 7001, "http-admin": 8600, "web": 7100}
    )
    assert ports_after_edit(SPEC, last) == InstancePorts()


def test_a_service_without_ports_gets_none() -> None:
    assert choose_ports(SPEC, InstancePorts(), frozenset()) == InstancePorts() == fixed_ports(SPEC)


def test_ports_that_are_not_chosen_yet_are_not_known_before_the_start() -> None:
    assert fixed_ports(NAMED) == InstancePorts(7000, {"debug": 7001})


@pytest.mark.parametrize(
    ("make", "key", "protocol"),
    [
        (lambda port: replace(SPEC, port=port), "services.x.port", "tcp"),
        (lambda port: replace(SPEC, ports={"debug": PortSpec(port)}), "services.x.ports.debug", "tcp"),
        (lambda port: replace(SPEC, ports={"dns": PortSpec(port, protocol="udp")}), "services.x.ports.dns", "udp"),
    ],
)
def test_the_process_that_has_the_port_and_the_key_are_named(make: Any, key: str, protocol: Protocol) -> None:
    with socket.socket(type=SOCKET_TYPES[protocol]) as server:
        server.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            server.listen()
        port = server.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            choose_ports(make(port), InstancePorts(), frozenset())
        assert str(caught.value).startswith(f"port {port} is taken by pid {os.getpid()} (")
        assert str(caught.value).endswith(f") — set {key} or stop it")


def test_a_range_that_is_taken_names_its_key() -> None:
    spec = replace(SPEC, ports={"web": PortSpec(port_range=(26000, 26001))})
    with pytest.raises(PortTaken, match=r"from 26000 to 26001 is taken — widen services\.x\.ports\.web"):
        choose_ports(spec, InstancePorts(), frozenset({("tcp", 26000), ("tcp", 26001)}))


@pytest.mark.parametrize("last", [0, 8001], ids=["first start", "second start"])
@pytest.mark.parametrize(
    "port",
    [
        {"auto_port": True},
        {"auto_port": True, "port_range": (8000, 8002)},
        {"port": 8080},
        {"ports": {"a": PortSpec()}},
    ],
    ids=["auto", "range", "fixed", "named"],
)
@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.7", "192.0.2.7 is no address of this machine"),
        ("2001:db8::7", "2001:db8::7 is no address of this machine"),
        ("nowhere.invalid", "host nowhere.invalid cannot be resolved"),
        ("a" * 70, "cannot be resolved"),
    ],
)
def test_a_host_that_is_not_this_machine_is_said_to_be_so(
    host: str, words: str, port: dict[str, Any], last: int
) -> None:
    """And not that the port is taken."""
    with pytest.raises(PortTaken, match=rf"{words}.* — set services\.x\.host"):
        choose_ports(replace(SPEC, host=host, **port), InstancePorts(last), frozenset())


def test_a_port_that_only_a_privileged_program_may_listen_on_does_not_keep_it_from_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program may have the right, by file capabilities or setuid."""
    refuse_ports(monkeypatch)
    assert choose_ports(replace(SPEC, port=80), InstancePorts(), frozenset()) == InstancePorts(80)
