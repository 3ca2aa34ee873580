"""Images, made or fetched before an instance is started (floor 3): build when missing, pull as the manifest's `pull` says."""

import os

import trio

from minikube.engine.arguments import build_arguments, image_name
from minikube.errors import ResourceExhausted, StartError
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.container.client import EngineClient
from minikube.supervisor.runtime.interface import Tell

NETWORK_TROUBLE = ("dial tcp", "no such host", "timeout", "connection reset", "TLS handshake", "unexpected EOF", "503")


class Images:
    """What the engine has of the project's images. Replicas that need the same one wait for one build or pull."""

    def __init__(self, client: EngineClient, project: str, unbuilt: tuple[str, ...] = ()) -> None:
        self._client = client
        self._project = project
        self._turns: dict[str, trio.Lock] = {}
        self._fetched: set[str] = set()
        """Pulled in this run already: `always` means once for each `up`."""
        self._told: dict[str, int] = {}
        self._unbuilt = set(unbuilt)
        """Services that were to be built again and could not be: what the engine has under that name is out of date."""

    async def ensure(self, spec: ServiceSpec, output: InstanceLog, tell: Tell) -> None:
        """Returns when the service's image is there. Raises `ResourceExhausted` while the engine is away, else `StartError`."""
        name = image_name(self._client.engine, self._project, spec)
        async with self._turns.setdefault(name, trio.Lock()):
            wanted = spec.pull == "always" and not spec.build and name not in self._fetched
            self._refuse_again(spec)
            if not wanted and spec.name not in self._unbuilt and await self._has(name):
                return
            if spec.build:
                await self._build(spec, name, output, tell)
            elif spec.pull == "never":
                raise StartError(f'no image {name} here, and pull = "never" — build or load it')
            else:
                await self._pull(spec, name, output, tell)
                self._fetched.add(name)

    def _refuse_again(self, spec: ServiceSpec) -> None:
        """Once for each replica: its build failed a moment ago and was shown; a start by hand tries it again."""
        told = self._told.get(spec.name, 0)
        if spec.name in self._unbuilt and told < spec.replicas:
            self._told[spec.name] = told + 1
            raise StartError(f"its build failed when `up` began — `minikube start {spec.name}` tries it again")

    async def build(self, spec: ServiceSpec, output: InstanceLog) -> None:
        """Builds it again. Raises as `ensure`."""
        name = image_name(self._client.engine, self._project, spec)
        async with self._turns.setdefault(name, trio.Lock()):
            await self._build(spec, name, output, lambda _: None)

    async def _has(self, name: str) -> bool:
        answer = await self._client.ask("image", "inspect", "--format", "{{.Id}}", name, insist=False)
        if not answer.good and isinstance(failure := self._client.failure(f"image {name}", answer), ResourceExhausted):
            raise failure
        return answer.good

    async def _build(self, spec: ServiceSpec, name: str, output: InstanceLog, tell: Tell) -> None:
        assert spec.build is not None
        tell(f"building image {name}")
        arguments, env = build_arguments(self._client.engine, spec.build, name, os.environ)
        answer = await self._client.show(output, *arguments, env=env)
        if not answer.good:
            failure = self._client.failure(f"build of {spec.build.context} failed", answer)
            raise type(failure)(f"{failure} — `minikube logs {spec.name}` has all of it")
        self._unbuilt.discard(spec.name)

    async def _pull(self, spec: ServiceSpec, name: str, output: InstanceLog, tell: Tell) -> None:
        tell(f"pulling image {name}")
        answer = await self._client.show(output, "pull", name)
        if not answer.good:
            failure = self._client.failure(f"cannot pull image {name}", answer)
            # Who has no such image will not have it later; a network may come back.
            raise (
                ResourceExhausted(str(failure)) if any(words in answer.error for words in NETWORK_TROUBLE) else failure
            )
