"""Instances as containers (floor 3): `runtime.Runtime` over an engine's command.

    ensure the image ─► ensure the network ─► create ─► Container.begin

What is asked for is `recipe`'s to say, what an image needs `images`'. It refuses to start what somebody else has given our name.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import trio

from minikube.errors import StartError
from minikube.manifest import Manifest, ServiceSpec
from minikube.supervisor import engine as engines
from minikube.supervisor.client import Client
from minikube.supervisor.container import Container
from minikube.supervisor.environment import instance_environment
from minikube.supervisor.images import Images
from minikube.supervisor.logs import Capture
from minikube.supervisor.network import ProjectNetwork
from minikube.supervisor.ports import choose_port
from minikube.supervisor.process import Household, Starved
from minikube.supervisor.recipe import Identity, Place, create_arguments, image_name, published, surroundings
from minikube.supervisor.runtime import Launch, Tell, filled

EVERYWHERE = "0.0.0.0"
"""Inside a network of its own a container listens on all its addresses."""

Where = Callable[[], tuple[str, str]]
"""The registry's address and the URL of Redis, as they are now."""


class ContainerRuntime:
    """Implements `Runtime`. The engine is looked for when the first container is wanted."""

    def __init__(
        self, household: Household, manifest: Manifest, state: Path, where: Where, unbuilt: tuple[str, ...] = ()
    ) -> None:
        self._household = household
        self._manifest = manifest
        self._state = state
        self._where = where
        self._unbuilt = unbuilt
        self._client: Client | None = None
        self._images: Images | None = None
        self._network: ProjectNetwork | None = None
        self._nursery: trio.Nursery | None = None
        self._unremoved: set[str] = set()
        """Names of containers that the engine has, as far as we know."""

    async def prepare(self, spec: ServiceSpec, output: Capture, tell: Tell) -> None:
        await self._all_images().ensure(spec, output, tell)

    async def rebuild(self, spec: ServiceSpec, output: Capture) -> None:
        """Builds the image although it is there."""
        await self._all_images().build(spec, output)

    async def start(self, launch: Launch) -> Container:
        client, spec = self._found(), launch.spec
        # On the project's network every container has all ports to itself.
        own = spec.has_own_address and not spec.auto_port
        port = spec.port if own else choose_port(spec, launch.port, launch.taken)
        base, mounts = surroundings(self._manifest, *self._where())
        place, seen = Place(), (spec.host, port)
        if spec.container_port:
            place = Place("bridge", published=published(spec.host, port, spec.container_port))
            seen = (EVERYWHERE, spec.container_port)
        elif spec.has_own_address:
            network = self._own_network(client)
            lan = await network.ensure()
            base = await network.surroundings(lan, base, lambda: self._where()[0])
            place, seen = Place(lan.name, alias=spec.name), (EVERYWHERE, port)
        env = instance_environment(base, spec, launch.id, *seen)
        who = Identity(self._manifest.name, spec.name, launch.id, launch.name)
        plain, filed = engines.split_environment(env, os.environ)
        with _env_file(self._state, filed) as env_file:
            arguments = create_arguments(
                client.engine,
                spec,
                who,
                place,
                image=image_name(client.engine, who.project, spec),
                command=filled(spec.command, env),
                variables=plain,
                env_file=env_file,
                mounts=mounts,
            )
            container = await self._create(client, launch, arguments, plain, env, port)
        container.network = place.network if spec.has_own_address else ""
        try:
            await container.begin()
        except BaseException:
            with trio.CancelScope(shield=True):
                await container.undo()
            raise
        return container

    def open(self, nursery: trio.Nursery) -> None:
        """Before the first start: who owns the tasks that stand by the containers."""
        self._nursery = nursery

    async def close(self) -> None:
        """Everything has been stopped. The record stays where an engine that was away still has something of ours."""
        if self._network is not None:
            await self._network.remove()
        if self._client is not None and not self._unremoved:
            engines.forget(self._state)

    def _all_images(self) -> Images:
        client = self._found()
        if self._images is None:
            self._images = Images(client, self._manifest.name, self._unbuilt)
        return self._images

    def _own_network(self, client: Client) -> ProjectNetwork:
        if self._network is None:
            assert self._nursery is not None
            self._network = ProjectNetwork(client, self._manifest.name, self._nursery)
        return self._network

    def _found(self) -> Client:
        if self._client is None:
            engine = engines.find_engine(self._manifest.containers.engine, self._state, os.environ.get("PATH"))
            try:
                engines.record(self._state, engine)
            except OSError as error:
                raise Starved(f"cannot note the engine in {self._state}: {error.strerror} — trying again") from None
            self._client = Client(self._household, engine, self._manifest.directory)
        return self._client

    async def _create(
        self,
        client: Client,
        launch: Launch,
        arguments: tuple[str, ...],
        plain: Mapping[str, str],
        env: Mapping[str, str],
        port: int,
    ) -> Container:
        name = engines.container_name(self._manifest.name, client.engine.mark, launch.name)
        container = Container(client, launch, name, env, port, self._unremoved)
        self._unremoved.add(name)
        answer = await client.ask(*arguments, env=plain)
        if not answer.good and "in use" in answer.error and name in answer.error:
            await self._make_room(client, name)
            answer = await client.ask(*arguments, env=plain)
        if not answer.good:
            if answer.exit is not None or answer.refused is not None:
                self._unremoved.discard(name)
            raise client.failure("cannot create its container", answer)
        container.id = answer.text.split()[-1]
        return container

    async def _make_room(self, client: Client, name: str) -> None:
        """Removes a container of ours that an engine's failure has left with the name."""
        form = f'{{{{index .Config.Labels "{engines.LABEL}.mark"}}}}'
        mark = await client.need(f"container {name}", "container", "inspect", "--format", form, name)
        if mark != client.engine.mark:
            raise StartError(f"a container that is not ours is called {name} — remove or rename it")
        await client.ask("rm", *client.engine.force, name)


@contextlib.contextmanager
def _env_file(state: Path, variables: Mapping[str, str]) -> Iterator[Path | None]:
    """The variables in a file that only we can read, for as long as the engine's command reads it. Raises `Starved`."""
    if not variables:
        yield None
        return
    path: Path | None = None
    try:
        try:
            descriptor, name = tempfile.mkstemp(prefix="env-", dir=state)  # mode 0600
            path = Path(name)
            with open(descriptor, "w") as file:
                file.writelines(f"{key}={value}\n" for key, value in variables.items())
        except OSError as error:
            raise Starved(f"cannot write variables to {state}: {error.strerror} — trying again") from None
        yield path
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
