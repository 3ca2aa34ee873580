"""Default names and addresses, and the environment variables of the registry's clients.

It imports hardly anything, so that commands which must start fast can read it.
"""

from collections.abc import Mapping

DEFAULT_FILE = "supervisor.toml"
"""The manifest that commands use when none is named."""

OVERRIDE_FILE = "supervisor.override.toml"
"""Beside that manifest: keys that hold in place of those of it, such as a developer's own."""

DEFAULT_REGISTRY = "127.0.0.1:5555"

TOKEN_ENV = "MINIKUBE_REGISTRY_TOKEN"
CA_ENV = "MINIKUBE_REGISTRY_CA"
CERT_ENV = "MINIKUBE_REGISTRY_CERT"
REGISTRY_RUN_ENV = "MINIKUBE_REGISTRY_RUN"
"""Tells a project's own registry when the run began, and the project's directory: `TIME DIRECTORY`."""

KEY_ENV = "MINIKUBE_REGISTRY_KEY"

REDIS_ENV = "MINIKUBE_REDIS_URL"
"""Chooses the Redis of a project or a registry; each instance gets that of its project in it."""

SUPERVISOR_TOKEN_ENV = "MINIKUBE_SUPERVISOR_TOKEN"
"""The token of the supervisor that started a registry, in that registry's environment only."""

CONTAINER_LABEL = "mini-kube-discovery"
"""Prefix of the labels of containers: `mini-kube-discovery.mark`, `.project`, `.service`, `.instance`."""

RELAY_SOURCE = "127.0.0.2"
"""The source address of connections that the relay of a container network forwards to the registry.

The kernel names the supervisor's user for them, but the caller is a container: the registry treats the user as unknown.
"""

RELAY_ENV = "MINIKUBE_REGISTRY_RELAY"
"""Set to 1: the registry also listens on 127.0.0.1, for relays. IPv6 has one loopback address, so no source tells a relay there."""


def is_inside_instance(environ: Mapping[str, str]) -> bool:
    """Return whether the variables are those of an instance, or of a command or shell with an instance's environment.

    There MINIKUBE_REDIS_URL names the Redis of that instance's project, and must not choose the one of another project.
    """
    return environ.keys() >= {"INSTANCE_ID", "SERVICE_NAME", "MINIKUBE_REGISTRY", REDIS_ENV}
