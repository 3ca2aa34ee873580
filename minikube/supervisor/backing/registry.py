"""The registry as a backing service: its command line and its environment. Imports no trio.

It refuses to start the process (`spec.start_process`) and to wait for it (`startup`).
"""

import json
import sys
from collections.abc import Mapping

from msgspec import structs

from minikube.defaults import REDIS_ENV, REGISTRY_RUN_ENV, RELAY_ENV, SUPERVISOR_TOKEN_ENV, TOKEN_ENV
from minikube.manifest import HostPort, Manifest, has_ipv4_loopback, is_loopback
from minikube.supervisor.backing.spec import BackingSpec


def registry_spec(
    manifest: Manifest, listen: HostPort, redis_url: str, secret: str, environ: Mapping[str, str]
) -> BackingSpec:
    """Return the spec of a registry that listens on `listen` (port 0: a free port) and stores its data in `redis_url`.

    `secret` is the supervisor token. The tokens and the URL, which may hold a password, are passed in the environment: every user
    can read a command line.
    """
    settings = manifest.registry
    # -P or -I: a file in the project's directory, where the registry runs, must not be imported in place of a module.
    mode = "-I" if sys.flags.isolated else "-P"
    tls = structs.asdict(settings.tls) if settings.tls else None
    config = {"prefix": manifest.redis.prefix, "allow_checks": settings.allow_checks, "tls": tls}
    words = (str(listen), json.dumps(config, default=str))  # not msgspec's: a path may be no UTF-8
    argv = (sys.executable, mode, "-u", "-m", "minikube.registry.main", *words)
    # Without the MINIKUBE_* variables of the shell that ran `up`: some are settings of a registry.
    env = {key: value for key, value in environ.items() if not key.startswith("MINIKUBE_")}
    env[REDIS_ENV] = redis_url
    # For the first process of a run: no entry of this project is of this run yet. See `later_start`.
    env[REGISTRY_RUN_ENV] = f"inf {manifest.path.absolute().parent}"
    env[SUPERVISOR_TOKEN_ENV] = secret
    if is_loopback(listen.host) and not has_ipv4_loopback(listen.host):
        env[RELAY_ENV] = "1"
    if settings.token:
        env[TOKEN_ENV] = settings.token
    return BackingSpec("registry", argv, env, manifest.directory, str(listen))


def later_start(spec: BackingSpec) -> BackingSpec:
    """Return the spec for the next process of a run in which a registry has listened: it takes every entry as it is stored.

    The first process has withdrawn what an earlier run left. Times do not tell the runs apart where the clock was set.
    """
    env = {name: value for name, value in spec.env.items() if name != REGISTRY_RUN_ENV}
    return structs.replace(spec, env=env)
