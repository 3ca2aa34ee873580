"""Names that several processes have to agree on (floor 0). It imports nothing: what must start fast reads them here."""

DEFAULT_FILE = "supervisor.toml"
"""The manifest, where none is named."""

DEFAULT_REGISTRY = "127.0.0.1:5555"

TOKEN_ENV = "MINIKUBE_REGISTRY_TOKEN"
CA_ENV = "MINIKUBE_REGISTRY_CA"
CERT_ENV = "MINIKUBE_REGISTRY_CERT"
KEY_ENV = "MINIKUBE_REGISTRY_KEY"
