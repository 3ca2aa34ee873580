"""The ports that `run` and `exec` hand to a command."""

import socket
from pathlib import Path

from minikube.cli.execute import _ports
from minikube.manifest import PortSpec, ServiceSpec
from minikube.model import InstanceView, ProcessState
from minikube.project.instance_ports import InstancePorts

SPEC = ServiceSpec(
    "web", Path("/"), ("run",), auto_port=True, ports={"debug": PortSpec(), "fixed": PortSpec(9230)}, host="127.0.0.1"
)


def test_exec_has_the_ports_of_the_instance() -> None:
    running = InstanceView(
        "1", "web", "web", ProcessState.RUNNING, address="127.0.0.1:8080", ports={"debug": 8081, "fixed": 9230}
    )
    assert _ports(SPEC, running) == InstancePorts(8080, {"debug": 8081, "fixed": 9230})


def test_run_has_free_ports_and_those_of_the_manifest_although_the_service_has_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        spec = ServiceSpec("web", Path("/"), ("run",), port=taken, ports=SPEC.ports, host="127.0.0.1")
        found = _ports(spec, None)
        assert (found.main, found.named["fixed"]) == (taken, 9230)
        assert found.named["debug"] not in (0, taken, 9230)
    both = _ports(SPEC, None)
    assert len({both.main, *both.named.values()}) == 3
