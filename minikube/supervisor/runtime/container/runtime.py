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

from minikube.engine import engine as engines
from minikube.engine.arguments import ContainerSetting, Identity, create_arguments, image_name, published, surroundings
from minikube.errors import ResourceExhausted, StartError
from minikube.linux.ports import PortAllocator
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import Manifest, ServiceSpec
from minikube.project.environment import instance_environment
from minikube.supervisor.runtime.container.client import EngineClient, Say
from minikube.supervisor.runtime.container.container import REMOVE_S, Container, remove
from minikube.supervisor.runtime.container.images import Images
from minikube.supervisor.runtime.container.network import ProjectNetwork
from minikube.supervisor.runtime.interface import Launch, Tell, filled
from minikube.supervisor.runtime.process.process import ProcessTable

EVERYWHERE = "0.0.0.0"
"""Inside a network of its own a container listens on all its addresses."""

LAST_CHANCE_S = 1.0
"""At the end of a stop, for an engine that did not answer: it is the last thing that is waited for."""

Where = Callable[[], tuple[str, str]]
"""The registry's address and the URL of Redis, as they are now."""


class ContainerRuntime:
    """Implements `Runtime`. The engine is looked for when the first container is wanted."""

    def __init__(
        self,
        household: ProcessTable,
        manifest: Manifest,
        state: Path,
        where: Where,
        say: Say,
        claims: PortAllocator,
        unbuilt: tuple[str, ...] = (),
    ) -> None:
        self._household = household
        self._manifest = manifest
        self._state = state
        self._where = where
        self._say = say
        self._claims = claims
        self._unbuilt = unbuilt
        self._client: EngineClient | None = None
        self._images: Images | None = None
        self._network: ProjectNetwork | None = None
        self._nursery: trio.Nursery | None = None
        self._unremoved: dict[str, bool] = {}
        """Names of containers that the engine has, as far as we know, and whether they have ended."""
        self._sweeping = trio.Lock()
        self._owed = False
        """Whether the engine may have something of an earlier run, from a time when it did not answer."""

    async def prepare(self, spec: ServiceSpec, output: InstanceLog, tell: Tell) -> None:
        await self._all_images().ensure(spec, output, tell)

    async def rebuild(self, spec: ServiceSpec, output: InstanceLog) -> None:
        """Builds the image although it is there."""
        await self._all_images().build(spec, output)

    async def start(self, launch: Launch) -> Container:
        client, spec = self._found(), launch.spec
        await self._remove_owed(client)
        # On the project's network every container has all ports to itself.
        if spec.has_own_address and not spec.auto_port:
            return await self._start(client, launch, spec.port)
        async with self._claims.claim(spec, launch.port, launch.taken) as port:
            return await self._start(client, launch, port)

    async def _start(self, client: EngineClient, launch: Launch, port: int) -> Container:
        spec = launch.spec
        base, mounts = surroundings(self._manifest, *self._where())
        place, seen = ContainerSetting(), (spec.host, port)
        if spec.container_port:
            place = ContainerSetting("bridge", published=published(spec.host, port, spec.container_port))
            seen = (EVERYWHERE, spec.container_port)
        elif spec.has_own_address:
            network = self._own_network(client)
            lan = await network.ensure()
            base = await network.surroundings(lan, base, lambda: self._where()[0])
            place, seen = ContainerSetting(lan.name, alias=spec.name), (EVERYWHERE, port)
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

    async def watch(self) -> None:
        """While everything is stopped: who waits for an engine that hangs is told so as soon as that can be known."""
        if self._client is not None and self._has_something:
            await self._client.watch()

    async def close(self) -> engines.EngineLeftovers | None:
        """Everything has been stopped. What the engine still has of ours: it is away, and the record stays for the next `up`."""
        client = self._client
        if client is None or not self._has_something:
            self._forget()
            return None
        if client.silent:
            with trio.move_on_after(LAST_CHANCE_S):
                await client.wait_answer()
        async with trio.open_nursery() as nursery:
            for name in self._unremoved:
                nursery.start_soon(self._remove, client, name)
        network = await self._network.remove() if self._network is not None else ""
        if self._owed:
            with contextlib.suppress(ResourceExhausted):
                await self._remove_owed(client)
        names = [name if ended else f"{name} (which may still run)" for name, ended in sorted(self._unremoved.items())]
        if not names and not network and not self._owed:
            self._forget()
            return None
        left = engines.EngineLeftovers(
            client.engine.kind, (*names, network) if network else tuple(names), given_up=True
        )
        with contextlib.suppress(OSError):  # a full disk: the record is there already, without the names
            engines.record(self._state, client.engine, left)
        return left

    @property
    def _has_something(self) -> bool:
        return bool(self._unremoved) or self._network is not None or self._owed

    def _forget(self) -> None:
        if self._client is not None:
            engines.forget(self._state)

    async def _remove(self, client: EngineClient, name: str) -> None:
        if await remove(client, name):
            self._unremoved.pop(name, None)  # who ends its instance may have been at it, too

    async def _remove_owed(self, client: EngineClient) -> None:
        """What an earlier run had to leave, now that the engine answers. Raises `ResourceExhausted` while it does not."""
        async with self._sweeping:
            if not self._owed:
                return
            listed = []
            for words in (("ps", "--all"), ("network", "ls")):
                form = "{{.Names}}" if words[0] == "ps" else "{{.Name}}"
                answer = await client.ask(
                    *words, "--filter", f"label={client.engine.label}", "--format", form, insist=False
                )
                if not answer.good:
                    failure = client.failure("cannot look for what an earlier run left", answer)
                    raise ResourceExhausted(str(failure))
                listed.append([name for name in answer.text.split() if name not in self._unremoved])
            names, networks = listed
            gone = [name for name in names if await remove(client, name)]
            self._owed = gone != names
            for name in networks:  # what is still in use is used by this run
                await client.ask("network", "rm", name, timeout=REMOVE_S, insist=False)
            if gone:
                self._say(f"removed {len(gone)} containers that an earlier run left: {', '.join(gone)}", "warning")

    def _all_images(self) -> Images:
        client = self._found()
        if self._images is None:
            self._images = Images(client, self._manifest.name, self._unbuilt)
        return self._images

    def _own_network(self, client: EngineClient) -> ProjectNetwork:
        if self._network is None:
            assert self._nursery is not None
            self._network = ProjectNetwork(client, self._manifest.name, self._nursery)
        return self._network

    def _found(self) -> EngineClient:
        if self._client is None:
            engine = engines.find_engine(self._manifest.containers.engine, self._state, os.environ.get("PATH"))
            earlier = engines.recorded(self._state)
            self._owed = earlier is not None
            try:
                engines.record(self._state, engine, earlier[1] if earlier else None)
            except OSError as error:
                raise ResourceExhausted(
                    f"cannot note the engine in {self._state}: {error.strerror} — trying again"
                ) from None
            self._client = EngineClient(self._household, engine, self._manifest.directory, self._say)
        return self._client

    async def _create(
        self,
        client: EngineClient,
        launch: Launch,
        arguments: tuple[str, ...],
        plain: Mapping[str, str],
        env: Mapping[str, str],
        port: int,
    ) -> Container:
        name = engines.container_name(self._manifest.name, client.engine.mark, launch.name)
        container = Container(client, launch, name, env, port, self._unremoved)
        self._unremoved[name] = False
        answer = await client.ask(*arguments, env=plain)
        if not answer.good and "in use" in answer.error and name in answer.error:
            await self._make_room(client, name)
            answer = await client.ask(*arguments, env=plain)
        if not answer.good:
            if answer.exit is not None or answer.refused is not None:
                self._unremoved.pop(name, None)
            raise client.failure("cannot create its container", answer)
        container.id = answer.text.split()[-1]
        return container

    async def _make_room(self, client: EngineClient, name: str) -> None:
        """Removes a container of ours that an engine's failure has left with the name."""
        form = f'{{{{index .Config.Labels "{engines.LABEL}.mark"}}}}'
        mark = await client.need(f"container {name}", "container", "inspect", "--format", form, name)
        if mark != client.engine.mark:
            raise StartError(f"a container that is not ours is called {name} — remove or rename it")
        await client.ask("rm", *client.engine.force, name)


@contextlib.contextmanager
def _env_file(state: Path, variables: Mapping[str, str]) -> Iterator[Path | None]:
    """The variables in a file that only we can read, for as long as the engine's command reads it. Raises `ResourceExhausted`."""
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
            raise ResourceExhausted(f"cannot write variables to {state}: {error.strerror} — trying again") from None
        yield path
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
