"""Default names and addresses, and the environment variables of the registry's clients.

It imports nothing, so that commands which must start fast can read it.
"""

DEFAULT_FILE = "supervisor.toml"
"""The manifest that commands use when none is named."""

DEFAULT_REGISTRY = "127.0.0.1:5555"

TOKEN_ENV = "MINIKUBE_REGISTRY_TOKEN"
CA_ENV = "MINIKUBE_REGISTRY_CA"
CERT_ENV = "MINIKUBE_REGISTRY_CERT"
REGISTRY_RUN_ENV = "MINIKUBE_REGISTRY_RUN"
"""Tells a project's own registry when the run began, and the project's directory: `TIME DIRECTORY`."""

KEY_ENV = "MINIKUBE_REGISTRY_KEY"

SUPERVISOR_TOKEN_ENV = "MINIKUBE_SUPERVISOR_TOKEN"
"""The token of the supervisor that started a registry, in that registry's environment only."""

RELAY_SOURCE = "127.0.0.2"
"""The source address of connections that the relay of a container network forwards to the registry.

The kernel names the supervisor's user for them, but the caller is a container: the registry treats the user as unknown.
"""
