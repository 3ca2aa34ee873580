"""Every key of `supervisor.toml`, as a tree of shapes, and what its value becomes. docs/manifest.md describes the keys.

The JSON Schema comes from the same tree. Rules between several keys are in `validate`.
"""

from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from minikube.manifest import hints, spec
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.json_schema import Schema
from minikube.manifest.keys import containers
from minikube.manifest.keys.commands import COMMAND, COMMAND_OR_NONE, SHELL
from minikube.manifest.keys.environment import ENV, NUMBERS, env_file_shape
from minikube.manifest.keys.health import ANY_HEALTH, HEALTH
from minikube.manifest.keys.limits import LIMITS
from minikube.manifest.keys.ports import PORT, PORTS, port_fields
from minikube.manifest.shapes import (
    COUNT,
    HOST_PORT,
    LISTEN,
    POSITIVE,
    SCHEDULE,
    SIGNAL,
    SIZE,
    UMASK,
    WATCH,
    Boolean,
    Choice,
    Converted,
    KnownKeys,
    ListOf,
    Number,
    OneOf,
    Parsed,
    Shape,
    TableOf,
    Text,
    duration,
)
from minikube.manifest.validate import MAX_REPLICAS
from minikube.manifest.values import ALLOWED_CHECK_FORM, parse_allowed_check
from minikube.manifest.variables.interpolate import port_variable
from minikube.model import MAX_NAME_LENGTH, NAME_PATTERN, to_dns_label
from minikube.redis_url import parse_redis_url

MAX_LOG_FILES = 1000

NAME_FORM = "a DNS label: a-z, 0-9 and -, 1 to 63 characters"

_WORD = Text("a non-empty string", r"^(?s:.+)$")
_IMAGE = Text("the name of an image without white space, such as redis:7", r"^\S+$")
_LATER = Text(later=True)


def _directory_path(text: str, key: KeyPath) -> Path | None:
    path = _file_path(text, key)
    try:
        return None if path is None else path.resolve()
    except RuntimeError:
        return key.fail(f'expected a directory, got "{text}", whose links lead in a circle')


def _program(text: str, key: KeyPath) -> str | None:
    """Return a program as it is written, where it is a name on the PATH, else its path from the manifest's directory."""
    if "/" not in text:
        return text
    return str(path) if (path := _file_path(text, key)) else None


def _file_path(text: str, key: KeyPath) -> Path | None:
    try:
        return key.reading.directory / Path(text).expanduser()
    except RuntimeError:
        return key.fail(f'expected a path, got "{text}", and there is no such user')


_DIRECTORY: Shape[Path] = Converted(_WORD, _directory_path)


def redis_url(text: str) -> str:
    """Return `text` if it is a Redis URL. Raises ValueError."""
    parse_redis_url(text)
    return text


def _stop_table(keys: dict[str, Any], key: KeyPath) -> spec.StopSpec | None:
    if keys.get("command") and "shell" in keys:
        return key.fail("expected either command or shell, got both")
    return spec.StopSpec(**keys)


def _restart_short(policy: str, _: KeyPath) -> spec.RestartSpec:
    return spec.RestartSpec(policy=policy)  # type: ignore[arg-type]


def _restart_table(keys: dict[str, Any], key: KeyPath) -> spec.RestartSpec | None:
    restart = spec.RestartSpec(**keys)
    if restart.max_delay < restart.delay:
        return key.key("max_delay").fail("expected at least restart.delay")
    return restart


STRINGS: Shape[tuple[str, ...]] = ListOf(_WORD, "strings")
PATH: Shape[Path] = Converted(_WORD, _file_path)
ENV_FILE = env_file_shape(PATH)
_PROGRAM: Shape[str] = Converted(_WORD, _program)
BUILD_ARGUMENT: Shape[str] = OneOf({str: Text(), **NUMBERS}, "a string or a number")

_POLICY = Choice(("always", "on-failure", "never"), hints.RESTART_WORDS)
RESTART: Shape[spec.RestartSpec] = OneOf(
    {
        str: Converted(_POLICY, _restart_short),
        dict: Converted(
            KnownKeys(
                {
                    "policy": _POLICY,
                    "delay": duration(zero=True),
                    "max_delay": duration(zero=True),
                    "limit": POSITIVE,
                    "reset_after": duration(zero=False),
                    "max_restarts": COUNT,
                    "window": duration(zero=False),
                    "success": ListOf(Number(int, 0, 255), "exit codes", least=1),
                    "max_unavailable": POSITIVE,
                }
            ),
            _restart_table,
        ),
    },
    '"always", "on-failure", "never" or a table',
)

_CONDITION = Choice(("started", "healthy", "completed", "exited"), hints.CONDITION_WORDS)
_DEPENDENCY: Shape[tuple[spec.Condition, bool]] = OneOf(
    {
        str: Converted(_CONDITION, lambda condition, _: (condition, True)),
        dict: Converted(
            KnownKeys({"condition": _CONDITION, "required": Boolean()}),
            lambda keys, _: (keys.get("condition", "healthy"), keys.get("required", True)),
        ),
    },
    'a condition such as "healthy", or a table with condition and required',
)
DEPENDS_ON: Shape[dict[str, tuple[spec.Condition, bool]]] = OneOf(
    {
        list: Converted(ListOf(_WORD, "service names"), lambda names, _: dict.fromkeys(names, ("healthy", True))),
        dict: TableOf(_DEPENDENCY, "service names and conditions", r"", "a service's name"),
    },
    'a list of service names, or a table such as { product = "healthy" }',
)

_SERVICE = KnownKeys(
    {
        "command": COMMAND,
        "shell": SHELL,
        "image": _IMAGE,
        "entrypoint": COMMAND_OR_NONE,
        "build": containers.build_shape(_DIRECTORY, BUILD_ARGUMENT),
        **containers.SHAPES,
        "args": ListOf(_LATER, "strings"),
        "port": PORT,
        "ports": PORTS,
        "host": Text("an address or host name", r"^[A-Za-z0-9._:%-]+$"),
        "cwd": _WORD,
        "env": ENV,
        "env_file": ENV_FILE,
        "user": Text(),
        "group": Text(),
        "umask": OneOf({str: UMASK, int: Number(int, 0, 0o777)}, 'an octal mask such as "022" or 0o022'),
        "replicas": Number(int, 0, MAX_REPLICAS),
        "profiles": STRINGS,
        "tags": STRINGS,
        "groups": ListOf(Text(NAME_FORM, NAME_PATTERN), "names"),
        "meta": TableOf(Text(), "strings", r"^(?s:.+)$", "a name"),
        "watch": ListOf(WATCH, "strings"),
        "register": Choice(("supervisor", "self", "none")),
        "depends_on": DEPENDS_ON,
        "on_exit": Choice(("keep", "stop-all", "stop-all-on-failure")),
        "health": HEALTH,
        "restart": RESTART,
        "schedule": SCHEDULE,
        "stop": Converted(
            KnownKeys(
                {
                    "signal": SIGNAL,
                    "timeout": duration(zero=True),
                    "command": COMMAND_OR_NONE,
                    "shell": SHELL,
                    "drain": duration(zero=True),
                }
            ),
            _stop_table,
        ),
        "limits": LIMITS,
        "extends": Text("the name of another service"),
        "logs": Converted(
            KnownKeys(
                {
                    "max_size": SIZE,
                    "keep": Number(int, 0, MAX_LOG_FILES),
                    "max_age": duration(zero=True),
                    "format": Choice(("plain", "json")),
                }
            ),
            lambda keys, _: spec.LogSpec(**keys),
        ),
    },
    hints=hints.SERVICE_KEYS,
)


def _service(keys: dict[str, Any], key: KeyPath) -> spec.ServiceSpec:
    fields = {name: value for name, value in keys.items() if name != "extends"}  # see `inherit`
    is_container = not fields.keys().isdisjoint(("image", "build"))
    fields.setdefault("runtime", "container" if is_container else "process")
    if fields["runtime"] == "container":
        fields["workdir"] = fields.get("cwd", "")
    fields["cwd"] = _directory_path(fields.get("cwd", "."), key.key("cwd"))
    fields["command"] = fields.get("command", ()) + fields.pop("args", ())
    if "port" in fields:
        fields |= port_fields(fields["port"])
        fields["auto_port"] = not fields["port"]
    if "env_file" in fields:
        fields["env_file"], fields["file_env"] = fields["env_file"]
    if "depends_on" in fields:
        needs = fields["depends_on"]
        fields["depends_on"] = {name: condition for name, (condition, _) in needs.items()}
        fields["optional_dependencies"] = tuple(name for name, (_, required) in needs.items() if not required)
    if fields.get("schedule"):
        fields.setdefault("restart", spec.RestartSpec("never"))
    return spec.ServiceSpec(name=key.path.rpartition(".")[2], **fields)


def port_variables(service: object) -> frozenset[str]:
    """Return the variables of the named ports of a service, as TOML has it: perhaps with mistakes."""
    ports = service.get("ports") if isinstance(service, dict) else None
    return frozenset(map(port_variable, ports)) if isinstance(ports, dict) else frozenset()


class _Service(Struct, frozen=True):
    """A service. Its strings may name the variables of its own `ports`, so their names are read before all else."""

    keys: Shape[dict[str, Any]]

    def read(self, value: object, key: KeyPath) -> spec.ServiceSpec | None:
        read = self.keys.read(value, replace(key, ports=port_variables(value)))
        return None if read is None else _service(read, key)

    def schema(self) -> Schema:
        return self.keys.schema()


SERVICE = _Service(_SERVICE)


class _Defaults(Struct, frozen=True):
    """`[defaults]`, read for its problems only: each service that inherits its keys reads them, with their warnings."""

    keys: Shape[Any]

    def read(self, value: object, key: KeyPath) -> dict[str, Any] | None:
        self.keys.read(value, replace(key, reading=key.reading.without_warnings()))
        return None

    def schema(self) -> Schema:
        return self.keys.schema()


DEFAULTS = _Defaults(
    KnownKeys(
        {name: shape for name, shape in _SERVICE.shapes.items() if name != "extends"}
        | {"health": OneOf[Any]({dict: ANY_HEALTH, str: HEALTH.by_type[str]}, HEALTH.expected)},
        hints={**hints.SERVICE_KEYS, "extends": "extends of a service"},
    )
)


def _meant_name(name: str) -> str:
    """Return the name that is meant by one that is no DNS label; empty for one that is too long."""
    return to_dns_label(name) if len(name) <= MAX_NAME_LENGTH else ""


_TLS = Converted(
    KnownKeys({"cert": PATH, "key": PATH, "ca": PATH}, required=("cert", "key")),
    lambda keys, _: spec.TlsSettings(**keys) if {"cert", "key"} <= keys.keys() else None,
)

MANIFEST = KnownKeys(
    {
        "name": Text(NAME_FORM, NAME_PATTERN),
        "registry": Converted(
            KnownKeys(
                {
                    "listen": LISTEN,
                    "token": Text(secret=True),
                    "tls": _TLS,
                    "allow_checks": ListOf(Parsed(parse_allowed_check, ALLOWED_CHECK_FORM), "strings"),
                    "advertise": Converted(HOST_PORT, lambda where, _: str(where)),
                }
            ),
            lambda keys, _: spec.RegistrySettings(chosen="listen" in keys, **keys),
        ),
        "control": Converted(
            KnownKeys({"listen": LISTEN}), lambda keys, _: spec.ControlSettings(chosen="listen" in keys, **keys)
        ),
        "redis": Converted(
            KnownKeys({"url": Parsed(redis_url, "a redis URL", secret=True), "server": _PROGRAM, "prefix": _WORD}),
            lambda keys, _: spec.RedisSettings(**keys),
        ),
        "containers": containers.CONTAINERS,
        "env": ENV,
        "env_file": ENV_FILE,
        "defaults": DEFAULTS,
        "services": TableOf(SERVICE, "services", NAME_PATTERN, NAME_FORM, _meant_name),
    },
    hints=hints.TOP_KEYS,
)
