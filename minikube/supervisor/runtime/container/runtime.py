"""Instances as containers: the `Runtime` over an engine's command.

    Images.ensure ─► ProjectNetwork.ensure ─► create ─► Container.start

It refuses to replace a container of the same name that lacks the project's label.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import trio

from minikube.defaults import CONTAINER_LABEL
from minikube.engine.arguments import (
    ContainerIdentity,
    ContainerNetworking,
    ContainerProgram,
    backing_environment,
    create_arguments,
    image_name,
    publish_argument,
    split_environment,
)
from minikube.engine.command import container_name, find_engine
from minikube.engine.leftovers import EngineLeftovers, forget_engine, read_engine_record, record_engine
from minikube.engine.mounts import create_sources
from minikube.engine.networks import ContainerNetwork
from minikube.errors import ResourceExhausted, StartError
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import Manifest, ServiceSpec
from minikube.project.environment import instance_environment
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.runtime.container.client import EngineClient, ReportEvent
from minikube.supervisor.runtime.container.container import REMOVE_TIMEOUT_S, Container, remove
from minikube.supervisor.runtime.container.host_relays import HostServices
from minikube.supervisor.runtime.container.images import Images
from minikube.supervisor.runtime.container.network import ProjectNetwork
from minikube.supervisor.runtime.interface import Launch, ShowProgress, fill_command
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.process_table import ProcessTable

ALL_ADDRESSES = "0.0.0.0"
"""HOST of a container with its own network address: connections from outside do not reach a loopback address there."""

LOOPBACK = "127.0.0.1"
"""This machine, for a container that uses its network."""

LAST_TRY_TIMEOUT_S = 1.0
"""At the end of a stop: how long an unresponsive engine may take to answer again, before the stop gives up on it."""

BackingAddresses = Callable[[], tuple[str, str, str]]
"""Return the registry's address, the URL of Redis, and the registry's address for relays, as they are now."""


class ContainerRuntime:
    """Runs instances as containers. Implements `Runtime`. Looks for the engine when the first container is needed.

    `backing_addresses` returns the addresses of the registry and Redis. `report_event` is called with events about the
    engine. `token` returns an instance's registry token. `host_services` are reached from containers by name. `unbuilt` are
    services whose build has just failed: see `Images`.
    """

    def __init__(
        self,
        process_table: ProcessTable,
        manifest: Manifest,
        project_dir: Path,
        backing_addresses: BackingAddresses,
        report_event: ReportEvent,
        port_allocator: PortAllocator,
        token: Callable[[ServiceSpec, str], str],
        host_services: HostServices,
        unbuilt: tuple[str, ...] = (),
    ) -> None:
        self._process_table = process_table
        self._manifest = manifest
        self._first_project_dir = project_dir
        self._backing_addresses = backing_addresses
        self._report_event = report_event
        self._port_allocator = port_allocator
        self._token = token
        self._host_services = host_services
        self._unbuilt = unbuilt
        self._client: EngineClient | None = None
        self._images: Images | None = None
        self._network: ProjectNetwork | None = None
        self._nursery: trio.Nursery | None = None
        self._unremoved: dict[str, bool] = {}
        """Containers that were created and not removed: name → whether all their processes are dead."""
        self._removing_leftovers = trio.Lock()
        self._may_have_leftovers = False
        """Whether the engine may have containers of an earlier run, which could not be removed because it did not answer."""

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, show_progress: ShowProgress) -> None:
        """Pull or build the service's image; see `Runtime.prepare`."""
        await self._open_images().ensure(spec, output, show_progress)

    async def rebuild(self, spec: ServiceSpec, output: InstanceLog) -> None:
        """Build the image of the service even if the engine has it. Raises as `start`."""
        await self._open_images().build(spec, output)

    async def start(self, launch: Launch) -> Container:
        """Create and start a container; see `Runtime.start`."""
        client, spec = self._open_client(), launch.spec
        await self._remove_leftovers(client)
        async with self._port_allocator.claim(spec, launch.ports, launch.used_ports) as ports:
            return await self._start(client, launch, ports)

    async def _start(self, client: EngineClient, launch: Launch, ports: InstancePorts) -> Container:
        try:
            return await self._start_on_network(client, launch, ports)
        except StartError:
            if self._network is not None:  # it may be the reason: `docker network prune`
                self._network.forget()
            raise

    async def _start_on_network(self, client: EngineClient, launch: Launch, ports: InstancePorts) -> Container:
        spec, network = launch.spec, None
        base, mounts = backing_environment(self._manifest, *self._backing_addresses()[:2])
        networking, host = ContainerNetworking(machine=LOOPBACK), spec.host
        if spec.is_on_project_network:
            project_network = self._open_network(client)
            network = await project_network.ensure()
            base = await project_network.replace_loopback(network, base, lambda: self._backing_addresses()[2])
            networking, host = self._networking(launch, network, ports), ALL_ADDRESSES
        inner, token = ports.in_container(spec), self._token(spec, launch.id)
        env = instance_environment(base, spec, launch.id, host, inner, token, launch.replica)
        identity = ContainerIdentity(self._manifest.name, spec.name, launch.id, launch.name)
        image = image_name(client.engine, identity.project, spec)
        program = ContainerProgram(image, *await self._command(spec, image, env))
        # Abandoned by a stop: a file system that hangs must not hold it up.
        await trio.to_thread.run_sync(create_sources, spec.volumes, abandon_on_cancel=True)
        plain, filed = split_environment(env, os.environ)
        with open_env_file(self._project_dir, filed) as env_file:
            arguments = create_arguments(
                client.engine,
                spec,
                identity,
                networking,
                program,
                variables=plain,
                env_file=env_file,
                mounts=mounts,
            )
            container = await self._create(client, launch, arguments, plain, env, ports)
        if network is not None and network.is_reachable:
            container.network, container.reached_ports = network.name, inner
        try:
            await container.start()
        except BaseException:
            with trio.CancelScope(shield=True):
                await container.undo_start()
            raise
        return container

    def _networking(self, launch: Launch, network: ContainerNetwork, ports: InstancePorts) -> ContainerNetworking:
        """Return the settings of a container on the project's network: its names there, and the ports to publish."""
        spec, inner = launch.spec, ports.in_container(launch.spec)
        published = [publish_argument(spec.host, ports.main, inner.main)] if ports.main else []
        for name, port in ports.named.items():
            published.append(publish_argument(spec.host, port, inner.named[name], spec.ports[name].protocol))
        # Services without a container are reached at the gateway, where relays listen on their ports.
        kept = {*spec.extra_hosts, "localhost"}
        others = self._host_services.names() - kept if network.is_reachable else ()
        hosts = dict.fromkeys(sorted(others), network.gateway)
        names = tuple(dict.fromkeys((spec.name, launch.name)))
        machine = network.gateway if network.is_reachable else ""
        return ContainerNetworking(network.name, tuple(published), names, hosts, machine)

    async def _command(
        self, spec: ServiceSpec, image: str, env: Mapping[str, str]
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """Return what replaces the image's ENTRYPOINT and CMD, as `ServiceSpec.container_command`, with variables filled."""
        entrypoint, command = spec.container_command
        if entrypoint == () and not command:
            # Compose runs the image's CMD then; the engines' `--entrypoint ""` drops it.
            return entrypoint, await self._open_images().command(image)
        return None if entrypoint is None else fill_command(entrypoint, env), fill_command(command, env)

    def open(self, nursery: trio.Nursery) -> None:
        """Set the nursery in which the relays of the project's network run. Call it before the first `start`."""
        self._nursery = nursery

    async def watch(self) -> None:
        """Probe the engine until cancelled, if it may have containers of the project.

        Run it during a stop of the project: then no instance waits long for an engine that does not answer.
        """
        if self._client is not None and self._may_have_something:
            await self._client.watch()

    async def close(self) -> EngineLeftovers | None:
        """Remove remaining containers and the network after all instances have stopped; return those not removed, or None.

        Where some remain because the engine does not answer, they are recorded, and the next `up` removes them.
        """
        client = self._client
        if client is None or not self._may_have_something:
            self._forget()
            return None
        if client.is_unresponsive:
            with trio.move_on_after(LAST_TRY_TIMEOUT_S):
                await client.wait_responsive()
        async with trio.open_nursery() as nursery:
            for name in self._unremoved:
                nursery.start_soon(self._remove, client, name)
        network = await self._network.remove() if self._network is not None else ""
        if self._may_have_leftovers:
            with contextlib.suppress(ResourceExhausted):
                await self._remove_leftovers(client)
        names = [name if ended else f"{name} (which may still run)" for name, ended in sorted(self._unremoved.items())]
        if not names and not network and not self._may_have_leftovers:
            self._forget()
            return None
        names += [network] if network else []
        leftovers = EngineLeftovers(client.engine.kind, tuple(names), given_up=True)
        with contextlib.suppress(OSError):  # a full disk: the record is there already, without the names
            record_engine(self._project_dir, client.engine, leftovers)
        return leftovers

    @property
    def _project_dir(self) -> Path:
        """The project's `.minikube`, where it is now."""
        return self._process_table.current_path(self._first_project_dir)

    @property
    def _may_have_something(self) -> bool:
        return bool(self._unremoved) or self._network is not None or self._may_have_leftovers

    def _forget(self) -> None:
        if self._client is not None:
            forget_engine(self._project_dir)

    async def _remove(self, client: EngineClient, name: str) -> None:
        if await remove(client, name):
            self._unremoved.pop(name, None)  # the end of its instance may have removed it, too

    async def _remove_leftovers(self, client: EngineClient) -> None:
        """Remove containers and networks that an earlier run could not remove.

        Raises `ResourceExhausted` while the engine does not answer.
        """
        async with self._removing_leftovers:
            if not self._may_have_leftovers:
                return
            listed = []
            for words in (("ps", "--all"), ("network", "ls")):
                form = "{{.Names}}" if words[0] == "ps" else "{{.Name}}"
                label = f"label={client.engine.label}"
                reply = await client.run(*words, "--filter", label, "--format", form, needs_answer=False)
                if not reply.ok:
                    failure = client.failure("cannot look for what an earlier run left", reply)
                    raise ResourceExhausted(str(failure))
                listed.append([name for name in reply.text.split() if name not in self._unremoved])
            names, networks = listed
            removed = [name for name in names if await remove(client, name)]
            self._may_have_leftovers = removed != names
            for name in networks:  # the engine refuses to remove a network that this run uses
                await client.run("network", "rm", name, timeout=REMOVE_TIMEOUT_S, needs_answer=False)
            if removed:
                text = f"removed {len(removed)} containers that an earlier run left: {', '.join(removed)}"
                self._report_event(text, "warning")

    def _open_images(self) -> Images:
        client = self._open_client()
        if self._images is None:
            self._images = Images(client, self._manifest.name, self._unbuilt)
        return self._images

    def _open_network(self, client: EngineClient) -> ProjectNetwork:
        if self._network is None:
            assert self._nursery is not None
            self._network = ProjectNetwork(
                client,
                self._manifest.name,
                self._nursery,
                self._host_services,
                self._report_event,
                greet=self._manifest.registry.tls is None,
            )
        return self._network

    def _open_client(self) -> EngineClient:
        """Return the engine's client. At the first call, find the engine and record it in the project directory.

        The record is written before the first container is created, so that containers can be removed after a crash.
        Raises `StartError`.
        """
        if self._client is None:
            engine = find_engine(self._manifest.containers.engine, self._project_dir, os.environ.get("PATH"))
            # Kept: the leftovers of an earlier run may be at this engine, and are removed before the first start.
            earlier = read_engine_record(self._project_dir)
            self._may_have_leftovers = earlier is not None
            try:
                record_engine(self._project_dir, engine, earlier[1] if earlier else None)
            except OSError as error:
                raise ResourceExhausted(
                    f"cannot record the engine in {self._project_dir}: {error.strerror} — trying again"
                ) from None
            self._client = EngineClient(self._process_table, engine, self._manifest.directory, self._report_event)
        return self._client

    async def _create(
        self,
        client: EngineClient,
        launch: Launch,
        arguments: tuple[str, ...],
        plain: Mapping[str, str],
        env: Mapping[str, str],
        ports: InstancePorts,
    ) -> Container:
        name = container_name(self._manifest.name, client.engine.mark, launch.name)
        container = Container(client, launch, name, env, ports, self._unremoved)
        # Before the engine is asked: a cancelled `create` may have made the container all the same.
        self._unremoved[name] = False
        reply = await client.run(*arguments, env=plain)
        if not reply.ok and "in use" in reply.error and name in reply.error:
            await self._free_name(client, name)
            reply = await client.run(*arguments, env=plain)
        if not reply.ok:
            # Without an exit the engine may have created it all the same: then it stays in `_unremoved`.
            if reply.exit is not None or reply.start_error is not None:
                self._unremoved.pop(name, None)
            raise client.failure("cannot create its container", reply)
        container.id = reply.text.split()[-1]
        return container

    async def _free_name(self, client: EngineClient, name: str) -> None:
        """Remove a container of this project that has the name of a new one.

        An engine that fails during a removal leaves such a container. Raises `StartError` where another program created
        it.
        """
        form = f'{{{{index .Config.Labels "{CONTAINER_LABEL}.mark"}}}}'
        mark = await client.run_checked(f"container {name}", "container", "inspect", "--format", form, name)
        if mark != client.engine.mark:
            raise StartError(f"a container that this project did not create is called {name} — remove or rename it")
        await client.run("rm", *client.engine.remove_options, name)


@contextlib.contextmanager
def open_env_file(project_dir: Path, variables: Mapping[str, str]) -> Iterator[Path | None]:
    """Yield the path of a file with the variables, readable by this user only; None for no variables.

    The file is removed when the block ends. Raises `ResourceExhausted` when it cannot be written.
    """
    if not variables:
        yield None
        return
    path: Path | None = None
    try:
        try:
            descriptor, name = tempfile.mkstemp(prefix="env-", dir=project_dir)  # mode 0600
            path = Path(name)
            # UTF-8 in any locale; bytes of the environment that are none pass unchanged.
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(f"{key}={value}\n" for key, value in variables.items())
        except OSError as error:
            raise ResourceExhausted(
                f"cannot write variables to {project_dir}: {error.strerror} — trying again"
            ) from None
        yield path
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
