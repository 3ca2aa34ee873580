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
