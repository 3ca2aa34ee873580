"""What an engine says about a container that could not be started becomes the reason of the instance, and the way out."""

from typing import Any, cast

import pytest
from msgspec.structs import replace

from minikube.errors import PortTaken, ResourceExhausted, StartError
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.runtime.container.container import Container
from minikube.supervisor.runtime.interface import Launch
from tests.unit.supervisor.instance.fakes import SPEC


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        (
            "listen tcp4 127.0.0.1:9230: bind: address already in use",
            PortTaken,
            "port 9230 is taken — set services.web.ports.debug or stop the process that has it",
        ),
        (
            "Bind for 127.0.0.1:80 failed: port is already allocated",
            PortTaken,
            "port 80 is taken — set services.web.port",
        ),
        ("network shop-net not found", ResourceExhausted, "the project's network is gone — making it again"),
        ("netavark: No such file or directory (os error 2)", StartError, 'or set network = "host" for web'),
        ("exec: no-such-program: executable file not found", StartError, "cannot start its container: exec: no-such"),
    ],
)
def test_the_reason_names_the_port_or_the_network_that_is_in_the_way(
    message: str, kind: type[StartError], reason: str
) -> None:
    launch = Launch(replace(SPEC, name="web", runtime="container", image="x"), "1", "web")
    container = Container(cast(Any, None), launch, "shop-web", {}, InstancePorts(80, {"debug": 9230}), {})
    error = container._start_error(message)
    assert type(error) is kind
    assert reason in str(error)


def test_a_container_without_a_network_gets_no_advice_about_one() -> None:
    spec = replace(SPEC, runtime="container", image="x", network="host")
    container = Container(cast(Any, None), Launch(spec, "1", "web"), "shop-web", {}, InstancePorts(), {})
    assert "network = " not in str(container._start_error("netavark: no"))
