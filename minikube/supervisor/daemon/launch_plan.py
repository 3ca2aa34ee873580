"""What the launcher has prepared for the supervisor's trio run. Imports no trio."""

from pathlib import Path

from msgspec import Struct

from minikube.engine.leftovers import EngineLeftovers
from minikube.manifest import HostPort, Manifest
from minikube.project.run_claim import RunClaim
from minikube.supervisor.backing.spec import BackingSpec
from minikube.supervisor.launch_options import LaunchOptions


class LaunchPlan(Struct, frozen=True):
    """The launcher's input to `run_supervisor`: manifest, options, addresses, and the results of the clean-up before it."""

    manifest: Manifest
    options: LaunchOptions
    project_dir: Path
    claim: RunClaim
    """The claim on the project directory, which is taken."""
    redis: BackingSpec | None
    """The embedded Redis; None where the manifest sets `redis.url`."""
    registry: BackingSpec
    token: str
    """The project's secret, and the bearer token of the control API."""
    registry_secret: str
    """The supervisor token, which the registry has and from which the tokens of instances are derived."""
    control: HostPort
    """Where the control API listens; port 0: any free one."""
    killed: list[int]
    """The pids of orphans of an earlier run that were killed."""
    removed: list[str]
    """The containers of an earlier run that were removed."""
    not_removed: EngineLeftovers | None = None
    """The containers and networks that could not be removed, because the engine does not answer."""
    mended: str = ""
    """A message about a mended append-only file of Redis; empty where it was whole."""
    warnings: tuple[str, ...] = ()
    """Messages about default ports that were taken, so that others are used."""
