"""The images of services, pulled or built before an instance starts. `pull` in the manifest decides when to pull."""

import json
import os

import trio

from minikube.engine.arguments import build_arguments, image_name
from minikube.errors import ResourceExhausted, StartError
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.supervisor.runtime.container.client import EngineClient
from minikube.supervisor.runtime.interface import ShowProgress

NETWORK_ERRORS = ("dial tcp", "no such host", "timeout", "connection reset", "TLS handshake", "unexpected EOF", "503")
"""Parts of an engine's error message that mean: a later pull may succeed."""


class Images:
    """Pulls and builds the images of the project's services, once for all replicas that need the same image.

    `unbuilt` are services whose build has just failed in `up --build`: an older image of theirs must not be started.
    """

    def __init__(self, client: EngineClient, project: str, unbuilt: tuple[str, ...] = ()) -> None:
        self._client = client
        self._project = project
        self._locks: dict[str, trio.Lock] = {}
        self._pulled: set[str] = set()
        """Images pulled in this run: `pull = "always"` means once for each `up`."""
        self._refused_starts: dict[str, int] = {}
        self._unbuilt = set(unbuilt)

    async def ensure(self, spec: ServiceSpec, log: InstanceLog, show_progress: ShowProgress) -> None:
        """Pull or build the image of the service unless the engine has it; write the output to `log`.

        Raises `ResourceExhausted` where a later try may succeed, such as while the engine does not answer, else
        `StartError`.
        """
        name = image_name(self._client.engine, self._project, spec)
        async with self._locks.setdefault(name, trio.Lock()):
            must_pull = spec.pull == "always" and not spec.build and name not in self._pulled
            self._refuse_unbuilt(spec)
            if not must_pull and spec.name not in self._unbuilt and await self._exists(name):
                return
            if spec.build:
                await self._build(spec, name, log, show_progress)
            elif spec.pull == "never":
                raise StartError(f'no image {name} here, and pull = "never" — build or load it')
            else:
                await self._pull(spec, name, log, show_progress)
                self._pulled.add(name)

    def _refuse_unbuilt(self, spec: ServiceSpec) -> None:
        """Raise `StartError` for the first start of each replica of a service whose build failed in `up --build`.

        That build would fail again, and its error was shown. Later starts, which a user requests, try it again.
        """
        refused = self._refused_starts.get(spec.name, 0)
        if spec.name in self._unbuilt and refused < spec.replicas:
            self._refused_starts[spec.name] = refused + 1
            raise StartError(f"its build failed when `up` began — `minikube start {spec.name}` tries it again")

    async def build(self, spec: ServiceSpec, log: InstanceLog) -> None:
        """Build the image of the service even if the engine has it. Raises as `ensure`."""
        name = image_name(self._client.engine, self._project, spec)
        async with self._locks.setdefault(name, trio.Lock()):
            await self._build(spec, name, log, lambda _: None)

    async def command(self, name: str) -> tuple[str, ...]:
        """Return the CMD of an image that the engine has. Raises as `ensure`, and where the image has none."""
        words = ("image", "inspect", "--format", "{{json .Config.Cmd}}", name)
        found = json.loads(await self._client.run_checked(f"image {name}", *words))
        if not found:
            raise StartError(f"image {name} has no CMD, and entrypoint is empty — set command")
        return tuple(found)

    async def _exists(self, name: str) -> bool:
        reply = await self._client.run("image", "inspect", "--format", "{{.Id}}", name, needs_answer=False)
        if not reply.ok and isinstance(failure := self._client.failure(f"image {name}", reply), ResourceExhausted):
            raise failure
        return reply.ok

    async def _build(self, spec: ServiceSpec, name: str, log: InstanceLog, show_progress: ShowProgress) -> None:
        assert spec.build is not None
        show_progress(f"building image {name}")
        arguments, env = build_arguments(self._client.engine, spec.build, name, os.environ)
        reply = await self._client.run_with_output(log, *arguments, env=env)
        if not reply.ok:
            failure = self._client.failure(f"build of {spec.build.context} failed", reply)
            raise type(failure)(f"{failure} — `minikube logs {spec.name}` has all of it")
        self._unbuilt.discard(spec.name)

    async def _pull(self, spec: ServiceSpec, name: str, log: InstanceLog, show_progress: ShowProgress) -> None:
        show_progress(f"pulling image {name}")
        reply = await self._client.run_with_output(log, "pull", name)
        if not reply.ok:
            failure = self._client.failure(f"cannot pull image {name}", reply)
            # A repository that lacks the image will lack it later, too; a network may come back.
            is_temporary = any(words in reply.error for words in NETWORK_ERRORS)
            raise ResourceExhausted(str(failure)) if is_temporary else failure
