"""The services that listen on this machine's network, for the relays by which containers reach them. Pure.

It starts no relay: `runtime.container.host_relays` does.
"""

from collections.abc import Callable, Iterator, Mapping

from minikube.addresses import WILDCARD_HOSTS
from minikube.control.state_store import StateStore
from minikube.manifest import ServiceSpec, is_loopback
from minikube.model import normalize_host
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.reconcile.replicas import ReplicaSet
from minikube.supervisor.runtime.container.host_relays import Endpoint, HostServices


def find_host_services(
    specs: Callable[[], Mapping[str, ServiceSpec]], replicas: ReplicaSet, store: StateStore
) -> HostServices:
    """Return the services of a project that are no containers on its network, as they are at each call.

    `specs` returns the services of the manifest as it is now.
    """

    def names() -> frozenset[str]:
        return frozenset(name for name, spec in specs().items() if not spec.is_on_project_network)

    def endpoints() -> frozenset[Endpoint]:
        return frozenset(endpoint for controller in replicas.all for endpoint in _endpoints(controller))

    return HostServices(names, endpoints, store)


def _endpoints(controller: InstanceController) -> Iterator[Endpoint]:
    """Yield the TCP ports on which a running instance listens on this machine, apart from all addresses."""
    process, spec = controller.process, controller.launched_spec
    if process is None or spec.is_on_project_network:
        return
    if process.host not in WILDCARD_HOSTS:
        for protocol, port in controller.used_ports:
            if protocol == "tcp":
                yield Endpoint(controller.name, process.pid, normalize_host(process.host), port)
    entry = controller.registry_entry
    # An instance that has registered itself may listen elsewhere than the manifest says, or the manifest says nothing.
    if entry is not None and spec.register == "self" and is_loopback(entry.addr.IP):
        yield Endpoint(controller.name, process.pid, entry.addr.IP, entry.addr.Port)
