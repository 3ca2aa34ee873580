"""The runtimes of a project: processes of this machine and containers; selects one for each service."""

import os

import trio

from minikube.engine.leftovers import EngineLeftovers
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import Manifest, ServiceSpec
from minikube.project import orphans
from minikube.project.environment import project_environment
from minikube.project.registry_tokens import instance_token
from minikube.supervisor.context import RunContext
from minikube.supervisor.runtime.container.host_relays import HostServices
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.interface import Runtime
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.runtime import ProcessRuntime


class Runtimes:
    """Makes the process and the container runtime of a project, and selects one for each service.

    Belongs to the trio thread. Tasks of the container runtime run in `nursery`; containers reach `host_services` by name.
    """

    def __init__(
        self, context: RunContext, manifest: Manifest, host_services: HostServices, nursery: trio.Nursery
    ) -> None:
        self._context = context
        # Not the edited manifest: the registry's and the containers' settings cannot change while the project runs.
        self._manifest = manifest
        self._environ = dict(os.environ)  # a copy is read ten times faster, and each start reads all of it
        self._warned: set[tuple[str, str]] = set()
        ports = PortAllocator()
        self._processes = ProcessRuntime(context.process_table, self._environment, self._warn, ports, self._token)
        self._containers = ContainerRuntime(
            context.process_table,
            manifest,
            context.directory,
            lambda: (context.registry_address, context.redis_url, context.relayed_registry),
            lambda text, level: context.store.event("containers.engine", text, level),
            ports,
            self._token,
            host_services,
            context.options.unbuilt,
        )
        self._containers.open(nursery)

    def select(self, spec: ServiceSpec) -> Runtime:
        """Return the runtime that runs the service."""
        return self._containers if spec.runtime == "container" else self._processes

    async def rebuild_image(self, spec: ServiceSpec, log: InstanceLog) -> None:
        """Build the image of a container service again, with output to `log`. Raises `StartError` on failure."""
        await self._containers.rebuild(spec, log)

    async def watch_engine(self) -> None:
        """Probe the container engine until cancelled, so that a stop does not wait for an engine that does not answer."""
        await self._containers.watch()

    async def close(self) -> EngineLeftovers | None:
        """Remove the project's containers and network from the engine; return those not removed, None where all are."""
        return await self._containers.close()

    def _environment(self, spec: ServiceSpec) -> dict[str, str]:
        """Return the environment variables that a process of the service gets from the project, before the service's own."""
        context = self._context
        env = project_environment(self._manifest, self._environ, context.registry_address, context.redis_url)
        env[orphans.PROJECT_ENV] = str(context.directory)
        return env

    def _token(self, spec: ServiceSpec, id: str) -> str:
        """Return the registry token of an instance."""
        return instance_token(self._context.registry_secret, spec.name, id)

    def _warn(self, spec: ServiceSpec, text: str) -> None:
        """Record a warning about a service as an event, only once for each text."""
        if (spec.name, text) not in self._warned:
            self._warned.add((spec.name, text))
            self._context.store.event("service.warning", f"{spec.name}: {text}", "warning", service=spec.name)
