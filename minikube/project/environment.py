"""What a process of a service sees (floor 3): the same for an instance, a helper beside it and a command by hand.

Nothing of weight is imported and nothing started, so that `minikube run` costs no more than its command.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from minikube.defaults import CA_ENV, CERT_ENV, KEY_ENV, TOKEN_ENV
from minikube.errors import UsageError
from minikube.manifest import Manifest, RegistrySettings, ServiceSpec, fill_instance_variables
from minikube.project_dir import REDIS_SOCKET

if TYPE_CHECKING:
    import ssl


def bundled() -> bool:
    """Whether this is the single binary's interpreter (`binary.py` leaves the mark), not one that the user chose."""
    return Path(sys.prefix, "minikube.bundle").is_file()


def service_path(environ: Mapping[str, str]) -> str:
    """PATH with this Python's programs first, so that `python` is the one that runs us; the single binary's last, so
    that the machine's own `python` wins where there is one."""
    own = str(Path(sys.executable).parent)
    rest = environ.get("PATH", os.defpath)
    return os.pathsep.join([rest, own] if bundled() else [own, rest])


def project_environment(manifest: Manifest, environ: Mapping[str, str], registry: str, redis: str) -> dict[str, str]:
    """What every process of the project sees: `environ` without our own variables, and where registry and Redis are."""
    env = {name: value for name, value in environ.items() if not name.startswith("MINIKUBE_")}
    env["PATH"] = service_path(environ)
    env["MINIKUBE_REGISTRY"] = manifest.registry.advertise or registry
    env["REDIS_URL"] = redis
    env.setdefault("PYTHONUNBUFFERED", "1")
    if manifest.registry.token:
        env[TOKEN_ENV] = manifest.registry.token
    if tls := manifest.registry.tls:
        env[CA_ENV] = str(tls.ca or tls.cert)
        if tls.ca:  # clients have to show a certificate: the registry's own, as we do
            env |= {CERT_ENV: str(tls.cert), KEY_ENV: str(tls.key)}
    return env


def registry_tls(settings: RegistrySettings) -> "ssl.SSLContext | None":
    """How the supervisor and the commands speak to the project's own registry; None: it has no TLS.

    The certificate that the manifest names has to answer, whatever host it is made out to: here that is an address of this
    machine. A registry that asks for one is shown the same. Raises `UsageError` for files that cannot be used.
    """
    if (files := settings.tls) is None:
        return None
    import ssl

    end = "-----END CERTIFICATE-----"
    try:
        own, found, _ = files.cert.read_text().partition(end)  # not the rest of its chain, which signs others as well
        context = ssl.create_default_context(cadata=own + found)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if files.ca:
            context.load_cert_chain(files.cert, files.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(f"registry.tls: {error} — check cert and key") from None
    return context


def redis_address(manifest: Manifest, state: Path) -> str:
    """REDIS_URL of the project: the manifest's, or the private server's socket, whether it runs or not."""
    if manifest.redis.url:
        return manifest.redis.url
    path = state / REDIS_SOCKET
    if path.is_symlink():  # where the path is too long for a socket: see parts.socket_path
        path = path.readlink()
    return f"unix://{quote(str(path))}"


def instance_environment(base: Mapping[str, str], spec: ServiceSpec, id: str, host: str, port: int) -> dict[str, str]:
    """Everything that an instance sees: `base`, who it is, then what its manifest says (env wins over env_file)."""
    whole = {**base, "HOST": host, "SERVICE_NAME": spec.name, "INSTANCE_ID": id}
    if port:
        whole["PORT"] = str(port)
    return whole | {name: fill_instance_variables(value, whole) for name, value in (spec.file_env | spec.env).items()}
