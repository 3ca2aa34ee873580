"""From a file to a `Manifest`, with all problems in one error. It reads the file, `.env` beside it, and `env_file`s."""

import os
import re
import sys
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from minikube.defaults import DEFAULT_FILE, REDIS_ENV, is_inside_instance
from minikube.errors import ManifestError
from minikube.manifest import parser, validate
from minikube.manifest.diagnostics import KeyPath, ManifestReading
from minikube.manifest.hints import OTHER_FORMATS
from minikube.manifest.spec import ControlSettings, Manifest, RedisSettings, RegistrySettings, ServiceSpec
from minikube.manifest.variables.env_file import ENCODING, parse_env_file
from minikube.manifest.variables.shared import LISTEN_VARIABLES, REDIS_VARIABLE, SharedEnvironment, complete_environment
from minikube.text import printable

MAX_BYTES = 1024 * 1024

_AT = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def load_manifest(path: Path, environ: Mapping[str, str] | None = None) -> Manifest:
    """Load the manifest in the file or directory `path` and return it.

    Variables come from `environ` (default os.environ) and `.env`. Raises `ManifestError` with one line for each problem.
    """
    environ = os.environ if environ is None else environ
    path = path / DEFAULT_FILE if os.path.isdir(path) else path  # Path.is_dir raises PermissionError
    text = _read_text(path)
    raw = _parse(text, path)
    if not raw:  # an empty file is TOML, whatever its name says
        _refuse_other_format(path)
    directory = path.absolute().parent
    ignored: list[int] = []
    dotenv, problem = _read_dotenv(directory / ".env", environ, ignored)
    variables = {name: value for name, value in dotenv.items() if name not in LISTEN_VARIABLES}
    inside = is_inside_instance(environ)
    variables |= {name: value for name, value in environ.items() if not (inside and name == REDIS_ENV)}
    variables["MINIKUBE_PYTHON"] = sys.executable
    reading = ManifestReading(printable(str(path)), directory, variables, dotenv, text)
    if problem:
        reading.problems[".env"] = problem
    for line in ignored:
        reading.warn_ignored(directory / ".env", line)
    manifest = build_manifest(raw, reading, path.absolute())
    if reading.problems:
        raise ManifestError("\n".join(reading.problems.values()))
    return manifest


def schema_json() -> str:
    """Return the JSON Schema of a manifest, for editors."""
    import json

    return json.dumps(parser.schema(), indent=2, ensure_ascii=False)


def build_manifest(raw: dict[str, Any], reading: ManifestReading, path: Path) -> Manifest:
    """Return the manifest for `raw`, the content of a TOML file. Record its problems in `reading`."""
    keys = parser.MANIFEST.read(raw, KeyPath(reading)) or {}
    raw_services = raw.get("services")
    # Valid services are validated further although other services have problems.
    services = keys.pop("services", None) or _readable(raw_services, reading)
    files, file_env = keys.pop("env_file", ((), {}))
    shared = SharedEnvironment(keys.pop("env", {}), files, file_env)
    redis = reading.variables[REDIS_VARIABLE] if REDIS_VARIABLE in reading.dotenv else None
    services = {name: complete_environment(service, shared, redis) for name, service in services.items()}
    services = _without_missing_dependencies(reading, raw_services, services)
    if isinstance(raw_services, dict):
        validate.check(reading, raw_services, services)
    registry, control = validate.free_default_ports(
        reading, keys.get("registry", RegistrySettings()), keys.get("control", ControlSettings()), services
    )
    keys |= {"registry": registry, "control": control}
    validate.check_listeners(reading, registry, control, services)
    if "redis" not in keys or not keys["redis"].url:
        keys["redis"] = _redis_from_environment(keys.get("redis", RedisSettings()), reading)
    keys.setdefault("name", default_name(reading.directory))
    return Manifest(path=path, directory=reading.directory, services=services, warnings=tuple(reading.warnings), **keys)


def _readable(raw: object, reading: ManifestReading) -> dict[str, Any]:
    """Return the valid services by name. Used after other services had problems, which are recorded already."""
    quiet = ManifestReading(reading.file, reading.directory, reading.variables, reading.dotenv)
    found: dict[str, Any] = {}
    for name, value in raw.items() if isinstance(raw, dict) else ():
        service = parser.SERVICE.read(value, KeyPath(quiet).key("services").key(name))
        if service is not None:
            found[name] = replace(service, name=name)  # the name may be the problem
    return found


def _without_missing_dependencies(
    reading: ManifestReading, raw_services: object, services: dict[str, ServiceSpec]
) -> dict[str, ServiceSpec]:
    """Return the services without optional dependencies on services that the manifest does not have; warn about each."""
    known = raw_services if isinstance(raw_services, dict) else {}
    found = {}
    for name, service in services.items():
        missing = [needed for needed in service.optional_dependencies if needed not in known]
        for needed in missing:
            reading.warn(
                f"services.{name}.depends_on.{needed}", "is no service of this manifest, and is not waited for"
            )
        if missing:
            kept = {needed: condition for needed, condition in service.depends_on.items() if needed not in missing}
            optional = tuple(needed for needed in service.optional_dependencies if needed not in missing)
            service = replace(service, depends_on=kept, optional_dependencies=optional)
        found[name] = service
    return found


def _redis_from_environment(settings: RedisSettings, reading: ManifestReading) -> RedisSettings:
    url = reading.variables.get(REDIS_ENV, "")
    if not url:
        return settings
    try:
        return replace(settings, url=parser.redis_url(url))
    except ValueError as error:
        reading.fail("redis.url", f"{REDIS_ENV} of the environment: {error}")
        return settings


def default_name(directory: Path) -> str:
    """Return a project name, a DNS label, from the name of its directory, as Compose does."""
    return re.sub(r"[^a-z0-9]+", "-", directory.name.lower())[:63].strip("-") or "minikube"


def _read_text(path: Path) -> str:
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ManifestError(f"{shown}: no such file — `minikube init` writes a first one") from None
    except OSError as error:
        raise ManifestError(f"{shown}: cannot be read ({(error.strerror or 'unreadable').lower()})") from None
    if len(raw) > MAX_BYTES:
        raise ManifestError(f"{shown}: expected at most 1M, got more")
    try:
        return raw.decode(ENCODING)
    except UnicodeDecodeError as error:
        raw = raw.removeprefix(BOM_UTF8)  # the error counts without it
        line = raw.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{shown}:{line}: expected UTF-8, got the byte 0x{raw[error.start]:02x}") from None


def _parse(text: str, path: Path) -> dict[str, Any]:
    shown = printable(str(path))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _AT.fullmatch(str(error))
        message = printable(match[1] if match else str(error))
        line, column = (match[2], match[3]) if match and match[2] else (str(text.count("\n") + 1), "end")
        _refuse_other_format(path)
        raise ManifestError(f"{shown}:{line}:{column}: not TOML: {message}") from None
    except RecursionError:
        raise ManifestError(f"{shown}: not TOML: nested too deeply") from None


def _refuse_other_format(path: Path) -> None:
    """Raise ManifestError for a file whose name is that of another format."""
    if other := OTHER_FORMATS.get(path.suffix.lower()):
        shown = printable(str(path))
        raise ManifestError(f"{shown}: a manifest is TOML, not {other} — `minikube init` writes a first one")


def _read_dotenv(path: Path, environ: Mapping[str, str], ignored: list[int]) -> tuple[dict[str, str], str]:
    """Return the content of `.env`, empty where there is none, and its problem in one line, or an empty text.

    Append the numbers of ignored lines to `ignored`.
    """
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError("expected at most 1M, got more")
        return parse_env_file(raw.decode(ENCODING), environ, ignored.append), ""
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{shown}: cannot be read ({(error.strerror or 'unreadable').lower()})"
    except UnicodeDecodeError:
        return {}, f"{shown}: expected UTF-8"
    except ValueError as error:
        text = str(error)  # `line 2: expected …`, or without a line
        return {}, f"{shown}:{text.removeprefix('line ')}" if text.startswith("line ") else f"{shown}: {text}"
