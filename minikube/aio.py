"""The SDK for asyncio programs (FastAPI, aiohttp): `from minikube import aio`."""

from minikube.sdk.asyncio import Registry, discover, open_registry, registered, watch

__all__ = ["Registry", "discover", "open_registry", "registered", "watch"]
