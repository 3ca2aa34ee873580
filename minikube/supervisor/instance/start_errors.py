"""The next state of an instance whose start has failed, by the error. Pure.

ResourceExhausted   a shortage of memory, processes or disk: retried with backoff, no failed start, without limit
PortTaken           the port may be free later: counts as a failed start
StartError          the next try would fail in the same way: `fatal` immediately
anything else       a defect of the supervisor: counts as a failed start, and the project goes on
"""

from minikube.errors import PortTaken, ResourceExhausted, StartError
from minikube.supervisor.instance import lifecycle
from minikube.supervisor.instance.lifecycle import InstanceState, RestartPolicy
from minikube.supervisor.runtime.failures import describe


def state_after(
    error: Exception, state: InstanceState, policy: RestartPolicy, now: float, jitter: float
) -> InstanceState:
    """Return the state that follows `state` after a start that raised `error`, which `failures.classify` has returned."""
    if isinstance(error, ResourceExhausted):
        return lifecycle.on_resource_exhausted(state, policy, str(error), now, jitter)
    if isinstance(error, StartError) and not isinstance(error, PortTaken):
        return lifecycle.on_not_executable(state, str(error))
    return lifecycle.on_start_failed(state, policy, describe(error), now, jitter)
