"""The variables of a service from all their sources: `[env]` and `env_file` of the manifest, those of the service, and `.env`.

Later ones win: files of the manifest, `[env]`, files of the service, `env` of the service.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from minikube.manifest.spec import EnvFile, ServiceSpec
from minikube.manifest.variables.interpolate import escape_dollars, port_variable

LISTEN_VARIABLES = ("PORT", "HOST")
"""Variables that are not taken from a file for a service with a port: there they mean the application's, not where it listens."""

REDIS_VARIABLE = "REDIS_URL"

PROJECT_VARIABLES = ("MINIKUBE_REGISTRY", "MINIKUBE_REDIS_URL")
"""Variables that are always those of the service's own project, whatever `env` and its files say."""


class SharedEnvironment(Struct, frozen=True):
    """The manifest's own `[env]` and `env_file`, which hold for all services."""

    env: Mapping[str, str] = {}
    env_file: tuple[EnvFile, ...] = ()
    file_env: Mapping[str, str] = {}
    """The content of the files."""


def complete_environment(service: ServiceSpec, shared: SharedEnvironment, dotenv_redis: str | None) -> ServiceSpec:
    """Return the service with the shared variables under its own.

    `dotenv_redis` is the REDIS_URL of `.env`, the application's: the service gets it where nothing else sets one.
    """
    file_env = {**shared.file_env, **service.file_env}
    listens = LISTEN_VARIABLES if service.port or service.auto_port else ()
    own = {*listens, *map(port_variable, service.ports)}
    file_env = {name: value for name, value in file_env.items() if name not in own}
    env = {name: value for name, value in shared.env.items() if name not in service.file_env} | service.env
    if dotenv_redis is not None and REDIS_VARIABLE not in file_env:
        env = {REDIS_VARIABLE: escape_dollars(dotenv_redis), **env}
    env, file_env = (
        {name: value for name, value in found.items() if name not in PROJECT_VARIABLES} for found in (env, file_env)
    )
    files = tuple(file for file in shared.env_file if file not in service.env_file) + service.env_file
    return replace(service, env=env, env_file=files, file_env=file_env)
