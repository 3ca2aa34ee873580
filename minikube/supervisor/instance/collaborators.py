"""The functions and objects of the supervisor that an instance's controller is given."""

from collections.abc import Callable

from msgspec import Struct

from minikube.control.state_store import StateStore
from minikube.health.prober import Prober
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.project.instance_ports import UsedPorts
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance.lifecycle import InstanceState
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
    """Set when no time is left for graceful stops: all processes are killed."""
    select_runtime: Callable[[ServiceSpec], Runtime]
    """Returns the runtime of a service, which starts processes or containers."""
    taken_ports: Callable[[str], UsedPorts]
    """Returns the ports of all instances except the instance with the given id."""
    open_log: Callable[[ServiceSpec, str, tuple[str, ...]], InstanceLog]
    """Opens the log of an instance, by service, instance name and the secrets to mask."""
    unmet_dependency: Callable[[ServiceSpec], str]
    """Returns a text that says why the service cannot start yet; empty when it can."""
    skipped_dependencies: Callable[[ServiceSpec], tuple[str, ...]]
    """Returns a text for each optional dependency that failed, so is not waited for."""
    on_end: Callable[[ServiceSpec, str, InstanceState], object]
    """Called when an instance has ended for good and not by a request: with its service, its name and its state."""
    record_processes: Callable[[], object]
    """Has the pids of running processes written to the project directory, for the next `up` after a crash."""
    next_run: Callable[[str], float]
    """Returns when a service's schedule is due (Unix seconds, 0 for never)."""
