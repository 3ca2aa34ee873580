"""Warnings about variables of `env` that an instance is given by the supervisor."""

from collections.abc import Mapping

from minikube.manifest.diagnostics import ManifestReading
from minikube.manifest.spec import ServiceSpec
from minikube.manifest.variables.shared import PROJECT_VARIABLES


def check_environment(reading: ManifestReading, shared: Mapping[str, str], services: Mapping[str, ServiceSpec]) -> None:
    """Warn of variables in `env` that an instance is given by the supervisor. `shared` is `[env]` of the manifest.

    `services` are those before the shared variables were added.
    """
    owners = [("env", shared), *((f"services.{name}.env", service.env) for name, service in services.items())]
    for path, env in owners:
        for name in PROJECT_VARIABLES:
            if name in env:
                reading.warn(f"{path}.{name}", "is not taken from here: it is always that of the project itself")
    for name, service in services.items():
        told = service.env.get("PORT")
        listens = service.port or service.auto_port
        if listens and told not in (None, "${PORT}", str(service.container_port or service.port)):
            reading.warn(
                f"services.{name}.env.PORT",
                f"is what the program is told, and services.{name}.port is where it is registered and checked"
                " — remove this line, or set that to the port on which the program listens",
            )
