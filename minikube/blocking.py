"""The SDK for blocking programs (Flask, Django, scripts): `from minikube import blocking`."""

from minikube.sdk.blocking import Registry, discover, open_registry, registered, watch

__all__ = ["Registry", "discover", "open_registry", "registered", "watch"]
