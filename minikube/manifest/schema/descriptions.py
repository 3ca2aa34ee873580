"""What each key of a manifest is for, with an example: what editors show. docs/manifest.md explains more.

The defaults are those of the structs in `spec`; a few that they cannot say stand here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from minikube.manifest.dump import dump_service
from minikube.manifest.spec import HealthSpec, ServiceSpec


class Doc(Struct, frozen=True):
    """The description of one key. `example` is one value, as JSON has it; None: the default says enough."""

    text: str
    example: Any = None


DOCS: Mapping[str, Doc] = {
    "name": Doc("The project's name. Without it: the name of the directory.", "shop"),
    "registry": Doc("The registry, where services find each other."),
    "registry.listen": Doc('Where the registry listens; "auto": a free port.', "127.0.0.1:5555"),
    "registry.token": Doc("The token that clients must send first; required beyond loopback.", "${REGISTRY_TOKEN:?}"),
    "registry.tls": Doc(
        "The certificate of the registry; required beyond loopback.", {"cert": "cert.pem", "key": "key.pem"}
    ),
    "registry.tls.cert": Doc("The PEM file of the certificate.", "cert.pem"),
    "registry.tls.key": Doc("The PEM file of its key.", "key.pem"),
    "registry.tls.ca": Doc(
        "The PEM file of the authority that must have signed the certificates of clients.", "ca.pem"
    ),
    "registry.allow_checks": Doc(
        'Hosts, networks or "*" that a health check may point at, besides the registered host.', ["10.0.0.0/8"]
    ),
    "registry.advertise": Doc(
        "The address that services get as MINIKUBE_REGISTRY. Without it: listen.", "10.0.0.5:5555"
    ),
    "control": Doc("The control API, which the dashboard and the commands use."),
    "control.listen": Doc('Where the control API listens; "auto": a free port.', "127.0.0.1:5556"),
    "redis": Doc("The Redis that keeps what the registry knows. Without it, a private one is started."),
    "redis.url": Doc("The URL of a Redis in place of the private one.", "redis://localhost:6379/0"),
    "redis.server": Doc("The program of the private Redis: a path, or a name on the PATH.", "valkey-server"),
    "redis.prefix": Doc("The beginning of every key in Redis."),
    "containers": Doc("What runs containers."),
    "containers.engine": Doc("The engine. Without it: the first of them on the PATH.", "podman"),
    "env": Doc("Variables of all services. Those of a service win.", {"LEVEL": "info"}),
    "env_file": Doc("Files with variables of all services; later ones win.", [".env"]),
    "env_file.path": Doc("The file, relative to the first manifest's directory.", "local.env"),
    "env_file.required": Doc("Whether the file has to exist.", False),
    "defaults": Doc("Keys that hold for every service that does not say otherwise.", {"restart": "on-failure"}),
    "services": Doc("The services by name: what runs.", {"web": {"command": "npm start", "port": "auto"}}),
    "services.*": Doc("A service: one of command, shell, image and build says what runs."),
    "service.command": Doc(
        "The command of a process, or in place of the image's CMD: a list, or a string that is split without a shell.",
        ["npm", "start"],
    ),
    "service.shell": Doc("Lines for `sh -ec` in place of command.", "./migrate && exec ./serve"),
    "service.image": Doc("The image of a container; with build, the name of what is built.", "postgres:16"),
    "service.entrypoint": Doc("The program of a container, in place of the image's ENTRYPOINT.", ["/bin/server"]),
    "service.build": Doc("The directory from which an image is built, or a table.", "."),
    "service.build.context": Doc("The directory with the files of the image.", "."),
    "service.build.dockerfile": Doc("The Dockerfile, relative to the context.", "docker/web.Dockerfile"),
    "service.build.target": Doc("The stage of the Dockerfile that is built.", "dev"),
    "service.build.args": Doc("Arguments of the build.", {"VERSION": "1.2"}),
    "service.runtime": Doc("What runs, where keys for both are there.", "container"),
    "service.network": Doc(
        'The network of a container: "project", where services find each other by name, or "host".', "host"
    ),
    "service.container_port": Doc("The port inside the container, where it is not port.", 80),
    "service.volumes": Doc(
        "Paths of this machine and volumes of the engine in the container.", ["./site:/srv:ro", "cache:/var/cache"]
    ),
    "service.init": Doc(
        "Whether the engine's init is the first process: it reaps orphans and passes signals on.", True
    ),
    "service.extra_hosts": Doc("Names that the container resolves to these addresses.", {"host": "host-gateway"}),
    "service.engine_args": Doc("Further options of the engine's `create`.", ["--shm-size=1g"]),
    "service.pull": Doc("When the image is pulled.", "always"),
    "service.args": Doc("Arguments that are added to the command.", ["--verbose"]),
    "service.port": Doc('The port that is registered; "auto": a free one; a range: one for each replica.', 8080),
    "service.ports": Doc(
        "Further ports by name: the service gets PORT_NAME for each.", {"debug": 9230, "http": "auto"}
    ),
    "service.ports.*": Doc('A port: a number, "auto", a range, or a table.', "auto"),
    "service.ports.*.port": Doc('The port; "auto": a free one.', 9230),
    "service.ports.*.container_port": Doc("The port inside the container, where it is another one.", 80),
    "service.ports.*.protocol": Doc("The protocol.", "udp"),
    "service.host": Doc("The address that the service listens on.", "0.0.0.0"),
    "service.cwd": Doc("The directory in which the command runs; of a container, one inside it.", "src"),
    "service.env": Doc("Variables of the service.", {"MODE": "development"}),
    "service.env_file": Doc("Files with variables of the service; later ones win, and env wins over them.", [".env"]),
    "service.env_file.path": Doc("The file, relative to the first manifest's directory.", "local.env"),
    "service.env_file.required": Doc("Whether the file has to exist.", False),
    "service.user": Doc("The user of the process, a name or a number; only root may choose another one.", "nobody"),
    "service.group": Doc("The group of the process. Without it: the user's own.", "nogroup"),
    "service.umask": Doc("The umask of the process. Without it: that of minikube.", "022"),
    "service.replicas": Doc("How many instances run; 0: none until `minikube scale`.", 3),
    "service.profiles": Doc("The service is started only with one of these profiles; empty: always.", ["debug"]),
    "service.tags": Doc("Tags that the registry shows.", ["v2"]),
    "service.groups": Doc("Names for several services: `minikube restart @backend`.", ["backend"]),
    "service.meta": Doc("Names and values that the registry shows.", {"team": "shop"}),
    "service.watch": Doc("The service is restarted when one of these files changes.", ["src", "!src/generated"]),
    "service.register": Doc(
        'Whether the supervisor registers the service, or the service does it itself ("self"), or neither ("none").',
        "self",
    ),
    "service.depends_on": Doc(
        "The services that are waited for; a list means healthy.", {"db": "healthy", "migrate": "completed"}
    ),
    "service.depends_on.*": Doc("What is waited for.", "healthy"),
    "service.depends_on.*.condition": Doc("What is waited for.", "started"),
    "service.depends_on.*.required": Doc("Whether the service has to be there and to start.", False),
    "service.on_exit": Doc("What its end does to the others.", "stop-all"),
    "service.health": Doc('The check that decides whether an instance is found: a path, "tcp", or a table.', "/health"),
    "service.health.http": Doc("A path of the instance, or a URL: a GET is answered with 200 to 299.", "/health"),
    "service.health.tcp": Doc("The port takes a connection.", True),
    "service.health.command": Doc("The command exits with 0.", ["pg_isready"]),
    "service.health.shell": Doc("The lines for a shell exit with 0.", "curl -f localhost:$PORT | grep -q ok"),
    "service.health.log": Doc("A line of output matches this regular expression.", "ready in .* ms"),
    "service.health.interval": Doc("The time between two checks.", "1s"),
    "service.health.timeout": Doc("The time for one check.", "500ms"),
    "service.health.failures": Doc("Bad answers in a row until the instance is critical.", 3),
    "service.health.timeouts": Doc("Time-outs in a row until the instance is critical.", 3),
    "service.health.successes": Doc("Passes in a row until the instance passes again.", 2),
    "service.health.start_period": Doc("Failures before the first pass do not count for this time.", "2m"),
    "service.health.restart_after": Doc("Failures in a row until the instance is restarted; 0: never.", 5),
    "service.restart": Doc("When an instance that has ended is started again, or a table.", "on-failure"),
    "service.restart.policy": Doc("When an instance that has ended is started again.", "on-failure"),
    "service.restart.delay": Doc("The delay before the second restart, which then doubles.", "1s"),
    "service.restart.max_delay": Doc("The longest delay.", "1m"),
    "service.restart.limit": Doc("Failed starts in a row until the instance is given up.", 3),
    "service.restart.reset_after": Doc("After running that long, the next restart is immediate again.", "5m"),
    "service.restart.max_restarts": Doc("Restarts within window until the instance is given up; 0: no limit.", 10),
    "service.restart.window": Doc("The time in which max_restarts are counted.", "1h"),
    "service.restart.success": Doc("Exit codes that are no failure.", [0, 143]),
    "service.restart.max_unavailable": Doc("How many replicas a rolling restart takes away at a time.", 2),
    "service.schedule": Doc('When the service runs: cron, "@hourly" and the like, or "every 30s".', "*/5 * * * *"),
    "service.stop": Doc("How an instance is stopped."),
    "service.stop.signal": Doc("The signal that asks the instance to end.", "INT"),
    "service.stop.timeout": Doc("The time until it is killed.", "30s"),
    "service.stop.command": Doc("A command that runs before the signal.", ["./drain"]),
    "service.stop.shell": Doc("Lines for a shell that run before the signal.", "curl -X POST localhost:$PORT/drain"),
    "service.stop.drain": Doc("The time between leaving the registry and the signal.", "2s"),
    "service.limits": Doc("What an instance may use.", {"memory": "512M", "cpus": 0.5}),
    "service.limits.cpus": Doc("How many CPUs all processes of an instance may use together.", 0.5),
    "service.limits.memory": Doc("The memory of all processes of an instance together.", "512M"),
    "service.limits.pids": Doc("How many processes and threads an instance may have.", 100),
    "service.limits.nofile": Doc("How many files each process may have open.", 1024),
    "service.limits.nproc": Doc("How many processes the user may have.", 200),
    "service.limits.core": Doc("The size of a core file.", "unlimited"),
    "service.limits.cpu": Doc("The seconds of CPU time of each process.", 600),
    "service.limits.as": Doc("The address space of each process.", "4G"),
    "service.limits.data": Doc("The data segment of each process.", "1G"),
    "service.limits.fsize": Doc("The size of the files that a process writes.", "1G"),
    "service.limits.memlock": Doc("The memory that a process may lock.", "unlimited"),
    "service.limits.msgqueue": Doc("The size of POSIX message queues of the user.", "1M"),
    "service.limits.rss": Doc("The resident memory of each process, which today's kernels ignore.", "1G"),
    "service.limits.stack": Doc("The stack of each process.", "16M"),
    "service.limits.nice": Doc("How far a process may raise its priority.", 20),
    "service.limits.rtprio": Doc("The highest real-time priority of a process.", 1),
    "service.limits.sigpending": Doc("How many signals of the user may wait.", 1000),
    "service.extends": Doc("Another service, whose keys hold where this one is silent.", "base"),
    "service.logs": Doc("The log files of the service."),
    "service.logs.max_size": Doc("The size at which a log file is rotated.", "50M"),
    "service.logs.keep": Doc("How many older files are kept.", 10),
    "service.logs.max_age": Doc('Older files are removed; "0": never.', "30d"),
    "service.logs.format": Doc('Plain lines, or with "json" an object on each line.', "json"),
}
"""By the path of a key; the keys of a service begin with `service`, those that the user chooses are `*`."""

_OTHER_DEFAULTS: Mapping[str, Any] = {
    "registry.listen": "127.0.0.1:5555",
    "control.listen": "127.0.0.1:5556",
    "redis.prefix": "{minikube}",
    "env_file.required": True,
    "service.env_file.required": True,
    "service.depends_on.*.condition": "healthy",
    "service.depends_on.*.required": True,
    "service.ports.*.port": "auto",
    "service.ports.*.protocol": "tcp",
    "service.build.dockerfile": "Dockerfile",
    "service.cwd": ".",
    "service.restart": "always",
    "service.logs.max_size": "10M",
    "service.network": "project",
    "service.pull": "missing",
    "service.init": False,
}


def find_defaults() -> dict[str, Any]:
    """Return the default of each key that has one, by the path of the key."""
    spec = ServiceSpec("x", Path(), command=("x",), health=HealthSpec("tcp"))
    found: dict[str, Any] = {}
    _collect(dump_service(spec, defaults=True), "service", found)
    known = {
        path: value
        for path, value in found.items()
        if path in DOCS and path not in ("service.command", "service.health.tcp")
    }
    return {**known, **_OTHER_DEFAULTS}


def _collect(table: dict[str, Any], path: str, found: dict[str, Any]) -> None:
    for name, value in table.items():
        if isinstance(value, dict):
            _collect(value, f"{path}.{name}", found)
        else:
            found[f"{path}.{name}"] = value
