"""Mini Kube Discovery: what a service author imports. Everything else is private.

    import minikube

    async with minikube.registered("web", 8080):        # trio
        ...
    address = await minikube.discover("product")

Blocking programs use `minikube.blocking`, asyncio programs `minikube.aio`: the same names, the same behaviour.
Names are loaded when first used, so that importing this costs nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing's own would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from minikube import aio, blocking
    from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
    from minikube.model import Address, Change, ChangeKind, CheckState, Instance, Registration
    from minikube.sdk.requests import WatchSnapshot
    from minikube.sdk.trio import Registry, discover, open_registry, registered, watch

__all__ = [
    "Address",
    "Change",
    "ChangeKind",
    "CheckState",
    "Instance",
    "MinikubeError",
    "NotFound",
    "Registration",
    "Registry",
    "RemoteError",
    "Unavailable",
    "UsageError",
    "WatchSnapshot",
    "__version__",
    "aio",
    "blocking",
    "discover",
    "open_registry",
    "registered",
    "watch",
]

_HOMES = {
    "minikube.sdk.trio": ("Registry", "discover", "open_registry", "registered", "watch"),
    "minikube.sdk.requests": ("WatchSnapshot",),
    "minikube.errors": ("MinikubeError", "NotFound", "RemoteError", "Unavailable", "UsageError"),
    "minikube.model": ("Address", "Change", "ChangeKind", "CheckState", "Instance", "Registration"),
}


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name in ("aio", "blocking"):
        return import_module(f"minikube.{name}")
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(home), name)
            return value
    raise AttributeError(f"module 'minikube' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
