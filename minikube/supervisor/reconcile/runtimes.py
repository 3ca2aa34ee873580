"""Selects what runs a service: a process of this machine or a container."""

import os

import trio

from minikube.engine.leftovers import EngineLeftovers
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import Manifest, ServiceSpec
from minikube.project import orphans
from minikube.project.environment import project_environment
from minikube.project.registry_tokens import instance_token
from minikube.supervisor.context import RunContext
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.interface import Runtime
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.runtime import ProcessRuntime


class Runtimes:
    """The runtimes of one project. Belongs to the trio thread; their tasks belong to `nursery`."""

    def __init__(self, context: RunContext, manifest: Manifest, nursery: trio.Nursery) -> None:
        self._context = context
        self._manifest = manifest
        # An edited manifest does not matter here: it cannot change what the runtimes take from it.
        self._warned: set[tuple[str, str]] = set()
        ports = PortAllocator()
        self._processes = ProcessRuntime(context.process_table, self._environment, self._warn, ports, self._token)
        self._containers = ContainerRuntime(
            context.process_table,
            manifest,
            context.directory,
            lambda: (context.registry_address, context.redis_url),
            lambda text, level: context.store.event("containers.engine", text, level),
            ports,
            self._token,
            context.options.unbuilt,
        )
        self._containers.open(nursery)

    def select(self, spec: ServiceSpec) -> Runtime:
        """Return the runtime that runs the service."""
        return self._containers if spec.runtime == "container" else self._processes

    async def rebuild_image(self, spec: ServiceSpec, log: InstanceLog) -> None:
        """Build the image of a container service again. Raise `StartError` when that fails."""
        await self._containers.rebuild(spec, log)

    async def watch_engine(self) -> None:
        """Watch for an engine that does not answer while everything is being stopped."""
        await self._containers.watch()

    async def close(self) -> EngineLeftovers | None:
        """Remove what the engine still has of the project; return what could not be removed."""
        return await self._containers.close()

    def _environment(self, spec: ServiceSpec) -> dict[str, str]:
        """Return the variables that every process of the service gets before its own."""
        context = self._context
        env = project_environment(self._manifest, os.environ, context.registry_address, context.redis_url)
        env[orphans.PROJECT_ENV] = str(context.directory)
        return env

    def _token(self, spec: ServiceSpec, id: str) -> str:
        """Return the registry token of an instance."""
        return instance_token(self._context.registry_secret, spec.name, id)

    def _warn(self, spec: ServiceSpec, text: str) -> None:
        """Record a warning about a service; once, however often the service is restarted."""
        if (spec.name, text) not in self._warned:
            self._warned.add((spec.name, text))
            self._context.store.event("service.warning", f"{spec.name}: {text}", "warning", service=spec.name)
