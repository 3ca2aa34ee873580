"""The shapes of `health`: a path, `"tcp"`, or a table with one kind of check."""

from typing import Any, Literal
from urllib.parse import urlsplit

from minikube.manifest import hints, spec
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.keys.commands import COMMAND, SHELL
from minikube.manifest.shapes import (
    COUNT,
    POSITIVE,
    Converted,
    KnownKeys,
    OneOf,
    OnlyTrue,
    Parsed,
    Shape,
    Text,
    duration,
)
from minikube.manifest.variables.interpolate import INSTANCE_VARIABLES, fill_instance_variables
from minikube.patterns import compile_pattern


def _regex(text: str) -> str:
    try:
        compile_pattern(text)
    except ValueError as error:
        raise ValueError(f"expected a regular expression ({error})") from None
    return text


def _check_url(text: str, key: KeyPath) -> str | None:
    try:
        parts = urlsplit(
            fill_instance_variables(
                text, {**dict.fromkeys((*INSTANCE_VARIABLES, *key.ports), "1"), "HOST": "127.0.0.1"}
            )
        )
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


HEALTH_KINDS: tuple[spec.HealthKind | Literal["shell"], ...] = ("http", "tcp", "command", "shell", "log")
"""The keys of a check of which it needs one."""

HTTP_FORM = 'a path such as "/health" or an http(s):// URL'
_HTTP = r"(/|https?://[^/\s]+)[^\s\x00-\x1f]*"
HTTP: Shape[str] = Converted(Text(HTTP_FORM, f"^{_HTTP}$", later=True), _check_url)

HEALTH_KEYS: dict[str, Shape[Any]] = {
    "http": HTTP,
    "tcp": OnlyTrue(),
    "command": COMMAND,
    "shell": SHELL,
    "log": Parsed(_regex, "a regular expression"),
    "interval": duration(zero=False),
    "timeout": duration(zero=False),
    "failures": POSITIVE,
    "timeouts": POSITIVE,
    "successes": POSITIVE,
    "start_period": duration(zero=True),
    "restart_after": COUNT,
}
HEALTH: OneOf[spec.HealthSpec] = OneOf(
    {
        dict: Converted(KnownKeys(HEALTH_KEYS, one_of=HEALTH_KINDS, hints=hints.HEALTH_KEYS), _health_table),
        str: Converted(Text(HTTP_FORM, f"^(tcp|{_HTTP})$", later=True), _health_short),
    },
    'a path such as "/health", "tcp", or a table',
)

ANY_HEALTH = KnownKeys(HEALTH_KEYS, hints=hints.HEALTH_KEYS)
"""A check without its kind: an interval and the like for the checks that services have."""
