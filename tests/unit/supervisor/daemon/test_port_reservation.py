"""Two supervisors that start at the same time do not choose the same port, although neither listens on it yet."""

import pytest

from minikube.errors import StartError
from minikube.manifest import HostPort
from minikube.supervisor.daemon.launcher import choose_address
from minikube.supervisor.daemon.port_reservation import PortReservations
from tests.ports import free_ports


def test_the_second_of_two_supervisors_gets_a_free_port_until_the_first_has_ended() -> None:
    wanted = HostPort("127.0.0.1", free_ports(1)[0])
    one, two = PortReservations(), PortReservations()
    warnings: list[str] = []
    try:
        assert choose_address("registry", wanted, False, one, warnings) == wanted
        assert choose_address("registry", wanted, False, two, warnings) == HostPort("127.0.0.1", 0)
        (warning,) = warnings
        assert f"registry: port {wanted.port} is taken by another project, which is starting, so a free one" in warning
        with pytest.raises(StartError, match=r"which is starting — stop it, or set registry\.listen"):
            choose_address("registry", wanted, True, two, warnings)
        one.close()
        assert choose_address("registry", wanted, False, two, warnings) == wanted
    finally:
        two.close()


def test_one_port_on_two_addresses_is_no_conflict() -> None:
    port = free_ports(1)[0]
    one, two = PortReservations(), PortReservations()
    warnings: list[str] = []
    try:
        for reservations, host in ((one, "127.0.0.1"), (one, "127.0.0.2"), (two, "127.0.0.3")):
            wanted = HostPort(host, port)
            assert choose_address("registry", wanted, True, reservations, warnings) == wanted
        assert not two.reserve(HostPort("localhost", port)), "another name of the same address"
    finally:
        one.close()
        two.close()


def test_any_free_port_needs_no_reservation() -> None:
    reservations = PortReservations()
    assert choose_address("control", HostPort("127.0.0.1", 0), True, reservations, []) == HostPort("127.0.0.1", 0)
    assert reservations.reserve(HostPort("127.0.0.1", 0)), "nothing was reserved"
    reservations.close()
