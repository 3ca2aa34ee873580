"""Mini Kube Discovery: the names that a service's author imports. All other modules are private.

    import minikube

    async with minikube.registered("web", 8080):        # trio
        ...
    address = await minikube.discover("product")

Blocking programs use `minikube.blocking`, asyncio programs `minikube.aio`, with the same names and behaviour.
A name is loaded when it is first used, so that importing the package costs nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing it from typing would cost more than all else here
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

_MODULES = {
    "minikube.sdk.trio": ("Registry", "discover", "open_registry", "registered", "watch"),
    "minikube.sdk.requests": ("WatchSnapshot",),
    "minikube.errors": ("MinikubeError", "NotFound", "RemoteError", "Unavailable", "UsageError"),
    "minikube.model": ("Address", "Change", "ChangeKind", "CheckState", "Instance", "Registration"),
}


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name in ("aio", "blocking"):
        return import_module(f"minikube.{name}")
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module 'minikube' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
