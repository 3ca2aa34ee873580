"""What an instance's controller is given by the supervisor."""

from collections.abc import Callable

from msgspec import Struct

from minikube.control.state_store import StateStore
from minikube.health.prober import Prober
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.runtime.interface import Runtime


class Collaborators(Struct, frozen=True):
    """The functions and objects of the supervisor that each `InstanceController` uses."""

    store: StateStore
    registry_sync: RegistrySync
    prober: Prober
    stop_requested: CancelEvent
    """Set when the whole project is to stop: nothing is started any more, and drains end."""
    immediate_stop_requested: CancelEvent
    """Set when no time is left: whatever is being stopped is killed."""
    select_runtime: Callable[[ServiceSpec], Runtime]
    """Returns what runs the service: processes or containers."""
    taken_ports: Callable[[str], frozenset[int]]
    """Returns the ports of all instances but the one with the given id."""
    open_log: Callable[[ServiceSpec, str, tuple[str, ...]], InstanceLog]
    """Opens the log of an instance, by service, instance name and the secrets to mask."""
    unmet_dependency: Callable[[ServiceSpec], str]
    """Returns why the service cannot start yet, in one line; an empty string when it can."""
    record_processes: Callable[[], object]
    """Writes down soon which processes run, for the next `up` to find after a crash."""
    next_run: Callable[[str], float]
    """Returns when a service's schedule is due (Unix seconds, 0 for never)."""
