"""The environment of a service's processes: the same for an instance, its hooks and checks, and `minikube run`.

Few imports, because `minikube run` waits for them. It refuses to start anything.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from minikube.defaults import CA_ENV, CERT_ENV, KEY_ENV, REDIS_ENV, TOKEN_ENV
from minikube.errors import StartError, UsageError
from minikube.manifest import Manifest, RegistrySettings, ServiceSpec, fill_instance_variables
from minikube.project.instance_ports import InstancePorts
from minikube.project.redis_socket import find_redis_socket

if TYPE_CHECKING:
    import ssl


def service_path(environ: Mapping[str, str]) -> str:
    """Return PATH with the programs of this interpreter last: `python` is the user's where there is one.

    A service that needs this interpreter, which has the SDK, is started with `${MINIKUBE_PYTHON}`.
    """
    return os.pathsep.join([environ.get("PATH") or os.defpath, str(Path(sys.executable).parent)])


def project_environment(manifest: Manifest, environ: Mapping[str, str], registry: str, redis: str) -> dict[str, str]:
    """Return the variables of every process of the project: `environ` without MINIKUBE_*, with registry and Redis.

    REDIS_URL and MINIKUBE_REDIS_URL both name the project's Redis; a service may set the first to another one.
    """
    env = {name: value for name, value in environ.items() if not name.startswith("MINIKUBE_")}
    env["PATH"] = service_path(environ)
    env["MINIKUBE_REGISTRY"] = manifest.registry.advertise or registry
    env["REDIS_URL"] = env[REDIS_ENV] = redis
    env["MINIKUBE_PYTHON"] = sys.executable
    env.setdefault("PYTHONUNBUFFERED", "1")
    if manifest.registry.token:
        env[TOKEN_ENV] = manifest.registry.token
    if tls := manifest.registry.tls:
        env[CA_ENV] = str(tls.ca or tls.cert)
        if tls.ca:  # clients need a certificate: they get the registry's own, which the supervisor uses too
            env |= {CERT_ENV: str(tls.cert), KEY_ENV: str(tls.key)}
    return env


def registry_tls(settings: RegistrySettings) -> "ssl.SSLContext | None":
    """Return the TLS settings with which the supervisor and the commands connect to the project's registry; None without TLS.

    The server must have exactly the manifest's certificate. Its host name is not checked: the address is one of this
    machine. A registry that wants a client certificate gets the same one. Raises `UsageError` for files that cannot be used.
    """
    if (files := settings.tls) is None:
        return None
    import ssl

    end = "-----END CERTIFICATE-----"
    try:
        # Only the first certificate: the rest of the chain signs other servers as well.
        own, found, _ = files.cert.read_text().partition(end)
        context = ssl.create_default_context(cadata=own + found)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if files.ca:
            context.load_cert_chain(files.cert, files.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(f"registry.tls: {error} — check cert and key") from None
    return context


def redis_address(manifest: Manifest, project_dir: Path) -> str:
    """Return the URL of the project's Redis: the manifest's, or the embedded server's socket, whether it runs or not."""
    if manifest.redis.url:
        return manifest.redis.url
    return f"unix://{quote(str(find_redis_socket(project_dir)))}"


def instance_environment(
    base: Mapping[str, str], spec: ServiceSpec, id: str, host: str, ports: InstancePorts, token: str, replica: int = 1
) -> dict[str, str]:
    """Return the variables of one instance: `base`, its own such as HOST and PORT, `env_file`, `env`; later ones win.

    `token` is the instance's own for the registry; empty: it gets the one in `base`, if any. Raises `StartError` where a
    value of `env` requires a variable that has none.
    """
    known = {**base, "HOST": host, "SERVICE_NAME": spec.name, "INSTANCE_ID": id, "REPLICA": str(replica)}
    if token:
        known[TOKEN_ENV] = token
    known |= ports.variables
    known |= spec.file_env
    try:
        return known | {name: fill_instance_variables(value, known) for name, value in spec.env.items()}
    except ValueError as error:
        raise StartError(f"env: {error}") from None
