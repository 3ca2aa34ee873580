"""Waits for the end of an instance that ends the whole project. `exit_policy` decides which do."""

from minikube.manifest import ServiceSpec
from minikube.supervisor.context import RunContext
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.reconcile.exit_policy import ProjectEnd, end_by_instance, end_by_service
from minikube.supervisor.reconcile.replicas import ReplicaSet


class ExitWatch:
    """Waits for the first end that ends the project. Belongs to the trio thread."""

    def __init__(self, context: RunContext, replicas: ReplicaSet) -> None:
        self._context = context
        self._replicas = replicas
        self._found: ProjectEnd | None = None

    def on_end(self, spec: ServiceSpec, instance: str, state: InstanceState) -> None:
        """Note that an instance has ended for good, and not by a request. The first that ends the project counts."""
        if self._found is None and not self._context.stop_requested.is_set():
            abort_on_failure = self._context.options.abort_on_failure
            self._found = end_by_instance(spec, instance, state, abort_on_failure=abort_on_failure)

    async def wait(self) -> ProjectEnd:
        """Wait until a service ends the project; return how. Where none does, wait until cancelled."""
        await self._context.store.wait_until(self._look)
        assert self._found is not None
        return self._found

    def _look(self) -> bool:
        name = self._context.options.exit_with
        if self._found is None and name and not self._context.stop_requested.is_set():
            # At each change, not only at the ends of its own instances: other services decide whether one waits in vain.
            found = list(map(self._replicas.final_state, self._replicas.of(name)))
            states = [state for state in found if state is not None]
            if found and len(states) == len(found):
                self._found = end_by_service(name, states)
        return self._found is not None
