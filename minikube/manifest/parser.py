"""Every key of `supervisor.toml`, as a tree of shapes, and what its value becomes. docs/manifest.md describes the keys.

The JSON Schema comes from the same tree. Rules between several keys are in `validate`. The file has about 400 lines because the
tree is one table: a reader finds every key in one place.
"""

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from minikube.manifest import hints, spec
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.env_file import ENCODING, parse_env_file
from minikube.manifest.interpolate import INSTANCE_VARIABLES, escape_dollars, fill_instance_variables
from minikube.manifest.keys import containers
from minikube.manifest.keys.commands import COMMAND, COMMAND_OR_NONE, SHELL
from minikube.manifest.keys.limits import LIMITS
from minikube.manifest.shapes import (
    DURATION,
    HOST_PORT,
    LISTEN,
    SCHEDULE,
    SIGNAL,
    SIZE,
    UMASK,
    WATCH,
    Choice,
    Converted,
    KnownKeys,
    ListOf,
    Number,
    OneOf,
    OnlyTrue,
    Parsed,
    Schema,
    Shape,
    TableOf,
    Text,
)
from minikube.manifest.validate import MAX_REPLICAS
from minikube.manifest.values import ALLOWED_CHECK_FORM, parse_allowed_check
from minikube.model import NAME_PATTERN
from minikube.patterns import compile_pattern
from minikube.redis_url import parse_redis_url

MAX_LOG_FILES = 1000
MAX_ENV_FILE_BYTES = 1024 * 1024

NAME_FORM = "a DNS label: a-z, 0-9 and -, 1 to 63 characters"
ENV_NAME = r"^[^=\s]+$"

_COUNT = Number(int, 0, 1_000_000)
_POSITIVE = Number(int, 1, 1_000_000)
_WORD = Text("a non-empty string", r"^(?s:.+)$")
_LATER = Text(later=True)


def _directory_path(text: str, key: KeyPath) -> Path | None:
    path = _file_path(text, key)
    return None if path is None else path.resolve()


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


def _duration(*, zero: bool) -> Shape[float]:
    def step(seconds: float, key: KeyPath) -> float | None:
        return seconds if zero or seconds > 0 else key.fail("expected a duration above 0")

    return Converted(DURATION, step)


def _env_value(value: int | float, _: KeyPath) -> str:
    return str(value)


def redis_url(text: str) -> str:
    """Return `text` if it is a Redis URL. Raises ValueError."""
    parse_redis_url(text)
    return text


def _regex(text: str) -> str:
    try:
        compile_pattern(text)
    except ValueError as error:
        raise ValueError(f"expected a regular expression ({error})") from None
    return text


def _check_url(text: str, key: KeyPath) -> str | None:
    try:
        parts = urlsplit(fill_instance_variables(text, {**dict.fromkeys(INSTANCE_VARIABLES, "1"), "HOST": "127.0.0.1"}))
        valid = text.startswith(("/", "http://[${HOST")) or (bool(parts.hostname) and parts.port != 0)
    except ValueError:
        valid = False
    return text if valid else key.wrong(HTTP_FORM, text)


def _health_table(keys: dict[str, Any], _: KeyPath) -> spec.HealthSpec | None:
    kinds = [kind for kind in HEALTH_KINDS if kind in keys]
    if len(kinds) != 1:  # reported already
        return None
    fields = {name: value for name, value in keys.items() if name != "tcp"}
    kind: spec.HealthKind = "command" if kinds[0] == "shell" else kinds[0]
    return spec.HealthSpec(kind=kind, **fields)


def _health_short(text: str, key: KeyPath) -> spec.HealthSpec | None:
    if text == "tcp":
        return spec.HealthSpec(kind="tcp")
    path = HTTP.read(text, key)
    return None if path is None else spec.HealthSpec(kind="http", http=path)


def _read_env_files(paths: tuple[Path, ...], key: KeyPath) -> tuple[tuple[Path, ...], dict[str, str]] | None:
    found: dict[str, str] = {}
    failed = False
    for path in paths:
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_ENV_FILE_BYTES + 1)
            if len(raw) > MAX_ENV_FILE_BYTES:
                raise ValueError("expected at most 1M")
            ignored: list[int] = []
            found |= parse_env_file(raw.decode(ENCODING), key.reading.variables, ignored.append)
            for line in ignored:
                key.reading.warn_ignored(path, line)
        except UnicodeDecodeError:
            failed = True
            key.fail(f"{path}: expected UTF-8")
        except OSError as error:
            failed = True
            key.fail(f"expected a file that can be read, got {path} ({(error.strerror or 'unreadable').lower()})")
        except ValueError as error:
            failed = True
            key.fail(f"{path}: {error}")
    return None if failed else (paths, found)


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


HTTP_FORM = 'a path such as "/health" or an http(s):// URL'
HTTP: Shape[str] = Converted(Text(HTTP_FORM, r"^(/|https?://[^/\s]+)[^\s\x00-\x1f]*$", later=True), _check_url)
STRINGS: Shape[tuple[str, ...]] = ListOf(_WORD, "strings")
PATH: Shape[Path] = Converted(_WORD, _file_path)
_PROGRAM: Shape[str] = Converted(_WORD, _program)
_NUMBERS: dict[type, Shape[str]] = {
    int: Converted(Number(int, -(2**63), 2**63), _env_value),
    float: Converted(Number(float, -1e308, 1e308), _env_value),
}
ENV_VALUE: Shape[str] = OneOf({str: _LATER, **_NUMBERS}, "a string or a number")
BUILD_ARGUMENT: Shape[str] = OneOf({str: Text(), **_NUMBERS}, "a string or a number")

HEALTH_KINDS: tuple[spec.HealthKind | Literal["shell"], ...] = ("http", "tcp", "command", "shell", "log")
_HEALTH_KEYS: dict[str, Shape[Any]] = {
    "http": HTTP,
    "tcp": OnlyTrue(),
    "command": COMMAND,
    "shell": SHELL,
    "log": Parsed(_regex, "a regular expression"),
    "interval": _duration(zero=False),
    "timeout": _duration(zero=False),
    "failures": _POSITIVE,
    "timeouts": _POSITIVE,
    "successes": _POSITIVE,
    "start_period": _duration(zero=True),
    "restart_after": _COUNT,
}
HEALTH: Shape[spec.HealthSpec] = OneOf(
    {
        dict: Converted(KnownKeys(_HEALTH_KEYS, one_of=HEALTH_KINDS, hints=hints.HEALTH_KEYS), _health_table),
        str: Converted(Text(later=True), _health_short),
    },
    'a path such as "/health", "tcp", or a table',
)

_POLICY = Choice(("always", "on-failure", "never"), hints.RESTART_WORDS)
RESTART: Shape[spec.RestartSpec] = OneOf(
    {
        str: Converted(_POLICY, _restart_short),
        dict: Converted(
            KnownKeys(
                {
                    "policy": _POLICY,
                    "delay": _duration(zero=True),
                    "max_delay": _duration(zero=True),
                    "limit": _POSITIVE,
                    "reset_after": _duration(zero=False),
                    "max_restarts": _COUNT,
                    "window": _duration(zero=False),
                    "success": ListOf(Number(int, 0, 255), "exit codes", least=1),
                    "max_unavailable": _POSITIVE,
                }
            ),
            _restart_table,
        ),
    },
    '"always", "on-failure", "never" or a table',
)

_CONDITION = Choice(("started", "healthy", "completed"), hints.CONDITION_WORDS)
DEPENDS_ON: Shape[dict[str, spec.Condition]] = OneOf(
    {
        list: Converted(ListOf(_WORD, "service names"), lambda names, _: dict.fromkeys(names, "healthy")),
        dict: TableOf(_CONDITION, "service names and conditions", r"", "a service's name"),
    },
    'a list of service names, or a table such as { product = "healthy" }',
)

PORT_FORM = 'a port from 1 to 65535, "auto", or a range such as "7070-7079"'
PORT: Shape[tuple[int, int]] = OneOf(
    {
        int: Converted(Number(int, 1, 65535), lambda port, _: (port, port)),
        str: Converted(Text(), lambda *read: _ports(*read)),
    },
    PORT_FORM,
)
"""The first and the last port; (0, 0) for `"auto"`."""


def _ports(text: str, key: KeyPath) -> tuple[int, int] | None:
    if text == "auto":
        return 0, 0
    first, dash, last = text.partition("-")
    numbers = [int(word) for word in (first, last if dash else first) if re.fullmatch(r"[0-9]{1,5}", word)]
    if len(numbers) == 2 and 1 <= numbers[0] <= numbers[1] <= 65535:
        return numbers[0], numbers[1]
    return key.wrong(PORT_FORM, text)


_SERVICE = KnownKeys(
    {
        "command": COMMAND,
        "shell": SHELL,
        "image": _WORD,
        "build": containers.build_shape(_DIRECTORY, BUILD_ARGUMENT),
        **containers.SHAPES,
        "args": ListOf(_LATER, "strings"),
        "port": PORT,
        "host": Text("an address or host name", r"^[A-Za-z0-9._:%-]+$"),
        "cwd": _WORD,
        "env": TableOf(ENV_VALUE, "strings", ENV_NAME, "a variable's name"),
        "env_file": Converted(ListOf(PATH, "files", lone=True), _read_env_files),
        "user": Text(),
        "group": Text(),
        "umask": OneOf({str: UMASK, int: Number(int, 0, 0o777)}, 'an octal mask such as "022" or 0o022'),
        "replicas": Number(int, 0, MAX_REPLICAS),
        "profiles": STRINGS,
        "tags": STRINGS,
        "meta": TableOf(Text(), "strings", r"^(?s:.+)$", "a name"),
        "watch": ListOf(WATCH, "strings"),
        "register": Choice(("supervisor", "self", "none")),
        "depends_on": DEPENDS_ON,
        "health": HEALTH,
        "restart": RESTART,
        "schedule": SCHEDULE,
        "stop": Converted(
            KnownKeys(
                {
                    "signal": SIGNAL,
                    "timeout": _duration(zero=True),
                    "command": COMMAND_OR_NONE,
                    "shell": SHELL,
                    "drain": _duration(zero=True),
                }
            ),
            _stop_table,
        ),
        "limits": LIMITS,
        "logs": Converted(
            KnownKeys(
                {
                    "max_size": SIZE,
                    "keep": Number(int, 0, MAX_LOG_FILES),
                    "max_age": _duration(zero=True),
                    "format": Choice(("plain", "json")),
                }
            ),
            lambda keys, _: spec.LogSpec(**keys),
        ),
    },
    hints=hints.SERVICE_KEYS,
)


def _service(keys: dict[str, Any], key: KeyPath) -> spec.ServiceSpec:
    fields = dict(keys)
    if "runtime" not in fields:
        made = fields.keys().isdisjoint(("command", "shell")) and not fields.keys().isdisjoint(("image", "build"))
        fields["runtime"] = "container" if made else "process"
    if fields["runtime"] == "container":
        fields["workdir"] = fields.get("cwd", "")
    fields["cwd"] = _directory_path(fields.get("cwd", "."), key.key("cwd"))
    fields["command"] = fields.get("command", ()) + fields.pop("args", ())
    if "port" in fields:
        first, last = fields["port"]
        fixed = first == last and first > 0
        fields |= {"port": first if fixed else 0, "auto_port": not fixed}
        fields["port_range"] = (0, 0) if fixed else (first, last)
    if "env_file" in fields:
        fields["env_file"], fields["file_env"] = fields["env_file"]
        if "port" in fields:  # like those of .env: see `load.APPLICATION_VARIABLES`
            for name in ("PORT", "HOST"):
                fields["file_env"].pop(name, None)
    if "REDIS_URL" in key.reading.dotenv and "REDIS_URL" not in fields.get("file_env", ()):
        url = escape_dollars(key.reading.variables["REDIS_URL"])
        fields["env"] = {"REDIS_URL": url, **fields.get("env", {})}
    if fields.get("schedule"):
        fields.setdefault("restart", spec.RestartSpec("never"))
    return spec.ServiceSpec(name=key.path.rpartition(".")[2], **fields)


SERVICE = Converted(_SERVICE, _service)


def _dns_label(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


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
        "services": TableOf(SERVICE, "services", NAME_PATTERN, NAME_FORM, _dns_label),
    },
    hints=hints.TOP_KEYS,
)


def schema() -> Schema:
    """Return the JSON Schema of a manifest, in draft 7, which editors support."""
    whole = MANIFEST.schema()
    service = whole["properties"]["services"]["additionalProperties"]
    service["anyOf"] = [{"required": [key]} for key in ("command", "shell", "image", "build")]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Mini Kube Discovery: supervisor.toml",
        **whole,
    }
