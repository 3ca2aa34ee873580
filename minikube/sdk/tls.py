"""The TLS context of the SDK's clients (floor 2). Imports ssl only when it is wanted."""

from typing import TYPE_CHECKING

from minikube.errors import UsageError
from minikube.sdk.session import RegistryAddress

if TYPE_CHECKING:
    import ssl


def make_context(target: RegistryAddress) -> "ssl.SSLContext | None":
    """None without a CA. Raises UsageError when a file cannot be read."""
    if not target.ca:
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=target.ca)
        if target.cert:
            context.load_cert_chain(target.cert, target.key or None)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"registry TLS files ({target.ca}): {error} — see MINIKUBE_REGISTRY_CA, _CERT, _KEY") from None
    return context
