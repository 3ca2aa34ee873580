"""The TLS context of the SDK's connections."""

from typing import TYPE_CHECKING

from minikube.errors import UsageError
from minikube.sdk.session import RegistryAddress

if TYPE_CHECKING:
    import ssl


def make_context(address: RegistryAddress) -> "ssl.SSLContext | None":
    """Return the context for a registry with TLS; None without a CA. Raises `UsageError` when a file cannot be read."""
    if not address.ca:
        return None
    import ssl  # late: it costs a program without TLS 10 ms at its start

    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.cert:
            context.load_cert_chain(address.cert, address.key or None)
    except OSError as error:  # includes ssl.SSLError
        raise UsageError(
            f"registry TLS files ({address.ca}): {error} — see MINIKUBE_REGISTRY_CA, _CERT, _KEY"
        ) from None
    return context
