"""The registry's settings: one frozen struct, passed in. The bounds of its RPC server are in `minikube/net/rpc/types`."""

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from minikube.defaults import (
    DEFAULT_REGISTRY,
    REDIS_ENV,
    REGISTRY_RUN_ENV,
    RELAY_ENV,
    SUPERVISOR_TOKEN_ENV,
    TOKEN_ENV,
)
from minikube.manifest.spec import HostPort, TlsSettings
from minikube.manifest.values import parse_host_port

REDIS_VARIABLES = (REDIS_ENV, "REDIS_URL")
"""The environment variables of `redis_url`, the first that is set: it may hold a password, so it is no argument."""


class RegistryConfig(Struct, frozen=True):
    """The settings of `minikube.registry.main.run`. Secrets come from the environment, never as arguments."""

    listen: HostPort = field(default_factory=lambda: parse_host_port(DEFAULT_REGISTRY))
    redis_url: str = "redis://127.0.0.1:6379/0"
    prefix: str = "{minikube}"
    """The prefix of all keys in Redis. Its braces put all keys into one slot of a Redis cluster."""
    token: str = ""
    """The token that clients must send; empty: none."""
    supervisor_token: str = ""
    """The token of the supervisor that started this registry and tells it the reserved names; empty: there is none."""
    tls: TlsSettings | None = None
    allow_checks: tuple[str, ...] = ()
    """Hosts and networks that a check may point at besides the host that it registers; `("*",)` allows any."""
    node: str = ""
    """This node's id among the registries on one Redis; empty: a random one at each start."""
    metrics: HostPort | None = None
    """The loopback address that serves `/metrics`; None: none, a supervisor reads the metrics over RPC."""
    relay: bool = False
    """Whether to listen on a free port of 127.0.0.1 as well, for the relays of container networks (`RELAY_ENV`)."""
    run: str = ""
    """The project that the registry belongs to and the start of its run (`REGISTRY_RUN_ENV`); empty: none."""


def with_environment(config: RegistryConfig, environ: Mapping[str, str]) -> RegistryConfig:
    """Return the settings with those that only the environment has: tokens, and what a supervisor tells its registry."""
    return replace(
        config,
        token=environ.get(TOKEN_ENV, ""),
        supervisor_token=environ.get(SUPERVISOR_TOKEN_ENV, ""),
        relay=environ.get(RELAY_ENV) == "1",
        run=environ.get(REGISTRY_RUN_ENV, ""),
    )
