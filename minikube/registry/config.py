"""The registry's settings (floor 3): one frozen tree, passed in; the wire's bounds are `minikube.net`'s."""

from msgspec import Struct, field

from minikube.defaults import DEFAULT_REGISTRY
from minikube.manifest.spec import HostPort, TlsSettings
from minikube.manifest.values import parse_host_port


class RegistryConfig(Struct, frozen=True):
    """What `minikube.registry.main.run` needs. Secrets come by environment (`from_environ`), never by argument."""

    listen: HostPort = field(default_factory=lambda: parse_host_port(DEFAULT_REGISTRY))
    redis_url: str = "redis://127.0.0.1:6379/0"
    prefix: str = "{minikube}"
    """The braces make all keys one slot of a Redis cluster."""
    token: str = ""
    tls: TlsSettings | None = None
    allow_checks: tuple[str, ...] = ()
    """Hosts and networks that a check may point at beside the host it registers; `("*",)`: any."""
    node: str = ""
    """This node's id among the registries on one Redis; empty: made up at start."""
    metrics: HostPort | None = None
    """Where `/metrics` is served, on loopback; None: nowhere, a supervisor asks over RPC."""


REDIS_ENV = "REDIS_URL"
