"""A loaded manifest back to TOML: interpolated, short forms written out, secrets masked. Pure.

The result is a manifest again: loaded, it is the same, apart from masked values. Values equal to the defaults are left out
unless `defaults` is set. It refuses to show a value of an `env_file`.
"""

import math
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from minikube.manifest.keys.containers import CONTAINER_KEYS
from minikube.manifest.masking import masked_words
from minikube.manifest.spec import EnvFile, HealthSpec, HostPort, Manifest, PortSpec, ServiceSpec, VolumeSpec
from minikube.manifest.variables.interpolate import escape_dollars
from minikube.text import MASK, looks_secret, mask_env, mask_url

TEMPLATES = frozenset({"command", "shell", "entrypoint", "env", "http"})
"""Keys whose strings are templates, as in the manifest; in all others a dollar is a dollar."""

COMMANDS = frozenset({"command", "shell", "entrypoint", "engine_args"})
"""Keys of a service, its check and its stop that have the words of a command as their value."""

ALWAYS = frozenset({"listen"})
FIRST = ("image", "build", "command", "shell")
KEPT = ("image", "build")
HIDDEN = frozenset(
    {
        "chosen",
        "name",
        "path",
        "directory",
        "warnings",
        "auto_port",
        "port_range",
        "file_env",
        "kind",
        "workdir",
        "optional_dependencies",
    }
)
"""Fields that are no keys of a manifest, or are written by code below."""

_UNITS = (("h", 3600.0), ("m", 60.0), ("s", 1.0))


def dump_manifest(manifest: Manifest, *, defaults: bool = False) -> dict[str, Any]:
    """Return a manifest as a dict for TOML or JSON. With `defaults`, keys that have their default value are included."""
    whole: dict[str, Any] = {"name": manifest.name}
    for name in manifest.__struct_fields__:
        value = getattr(manifest, name)
        if isinstance(value, Struct):
            whole[name] = _table(value, defaults)
    whole["services"] = {name: dump_service(spec, defaults=defaults) for name, spec in manifest.services.items()}
    return {name: value for name, value in whole.items() if value != {}}


def dump_service(spec: ServiceSpec, *, defaults: bool = False) -> dict[str, Any]:
    """Return the keys of one service as a dict for TOML or JSON. `defaults` is as for `dump_manifest`."""
    written = _table(spec, defaults)
    for table in (written, written.get("health", {}), written.get("stop", {})):
        for name in COMMANDS & table.keys():
            shown = masked_words(spec, [table[name]] if isinstance(table[name], str) else table[name])
            table[name] = shown[0] if isinstance(table[name], str) else shown
    keys = {name: written.pop(name) for name in FIRST if name in written} | written
    keys.pop("port", None)
    if spec.port or spec.auto_port:
        first, last = spec.port_range
        keys["port"] = spec.port or (f"{first}-{last}" if first else "auto")
    keys.pop("umask", None)
    if spec.umask >= 0:
        keys["umask"] = f"{spec.umask:03o}"
    if not spec.command:
        keys.pop("command", None)
    for name in spec.optional_dependencies:
        keys["depends_on"][name] = {"condition": spec.depends_on[name], "required": False}
    if spec.runtime == "container":
        keys |= {"runtime": "container", "cwd": spec.workdir}
    else:
        keys = {name: value for name, value in keys.items() if name in KEPT or name not in CONTAINER_KEYS}
    if spec.runtime == "process" and (spec.image or spec.build):
        keys["runtime"] = "process"
    return {name: value for name, value in keys.items() if value not in ("", 0) or name == "replicas"}


def _volume(volume: VolumeSpec) -> str:
    options = (*(("ro",) if volume.read_only else ()), *volume.options)
    source = f"{volume.source}:" if volume.source else ""
    return f"{source}{volume.target}" + (f":{','.join(options)}" if options else "")


def _port(port: PortSpec) -> int | str | dict[str, Any]:
    """Return a port of `ports`: short where its port is all that it says."""
    first, last = port.bounds
    published: int | str = port.port or (f"{first}-{last}" if first else "auto")
    others = {"container_port": port.container_port} if port.container_port else {}
    protocol = {"protocol": port.protocol} if port.protocol != "tcp" else {}
    return {"port": published, **others, **protocol} if others or protocol else published


def _env_file(file: EnvFile) -> str | dict[str, Any]:
    path = escape_dollars(str(file.path))
    return path if file.required else {"path": path, "required": False}


def _table(struct: Struct, defaults: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if (
            field.name in HIDDEN
            or value is None
            or value == ""
            or (value == default and not defaults and field.name not in ALWAYS)
        ):
            continue
        found[field.name] = _value(field.name, field.type, value, defaults)
    if isinstance(struct, HealthSpec):
        found = _health(struct, found)
    return found


def _health(health: HealthSpec, found: dict[str, Any]) -> dict[str, Any]:
    for kind in ("http", "command", "log"):
        if health.kind != kind or (kind == "command" and health.shell):
            found.pop(kind, None)
    return {"tcp": True, **found} if health.kind == "tcp" else found


def _value(name: str, kind: object, value: Any, defaults: bool) -> Any:
    match value:
        case EnvFile():
            return _env_file(value)
        case VolumeSpec():
            return _string(name, _volume(value))
        case Struct() if not isinstance(value, HostPort):
            return _table(value, defaults)
        case HostPort("127.0.0.1", 0):
            return "auto"
        case HostPort() | Path():
            return _string(name, str(value))
        case str():
            return MASK if value and looks_secret(name) else _string(name, mask_url(value))
        case dict() if name == "ports":
            return {key: _port(port) for key, port in value.items()}
        case dict() if name in ("env", "args"):
            return {key: _string(name, text) for key, text in mask_env(value).items()}
        case dict() if name == "limits":
            return {key: "unlimited" if limit == -1 else limit for key, limit in value.items()}
        case dict():
            return {key: _string(name, str(item)) for key, item in value.items()}
        case tuple():
            return [_value(name, None, item, defaults) for item in value]
        case bool():
            return value
        case float() if kind is float:
            return exact_duration(value)
        case int() if name == "max_size":
            return str(value)
        case _:
            return value


def _string(name: str, text: str) -> str:
    return text if name in TEMPLATES else escape_dollars(text)


def exact_duration(seconds: float) -> str:
    """Return the shortest duration that `parse_duration` reads as the same number: `90s`, `250ms`, `2h`."""
    for unit, size in _UNITS:
        if seconds >= size and math.fmod(seconds, size) == 0:
            return f"{seconds / size:.0f}{unit}"
    if seconds >= 1:
        return f"{seconds:.6f}".rstrip("0") + "s"
    return f"{seconds * 1000:.10g}ms" if seconds else "0"
