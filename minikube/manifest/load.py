"""From a file to a `Manifest`, with all problems in one error. It reads the file, `.env` beside it, and `env_file`s."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from minikube.defaults import REDIS_ENV, is_inside_instance
from minikube.errors import ManifestError, Problem
from minikube.manifest import parser, validate
from minikube.manifest.diagnostics import KeyPath, ManifestReading
from minikube.manifest.files import VariablesFile, read_tree, read_variables
from minikube.manifest.given import check_environment
from minikube.manifest.layers.inherit import inherit, warn_of_replaced_image
from minikube.manifest.layers.merge import MANIFEST, merge
from minikube.manifest.spec import ControlSettings, Manifest, RedisSettings, RegistrySettings, ServiceSpec
from minikube.manifest.tree.node import Node
from minikube.manifest.variables.shared import LISTEN_VARIABLES, REDIS_VARIABLE, SharedEnvironment, complete_environment
from minikube.model import to_dns_label
from minikube.project_dir import ManifestFiles, files_at
from minikube.text import printable


def load_manifest(path: Path | ManifestFiles, environ: Mapping[str, str] | None = None) -> Manifest:
    """Load the manifest in a file, in the default files of a directory, or in several files, and return it.

    Variables come from `environ` (default os.environ) and `.env`. Raises `ManifestError` with one line for each problem.
    """
    manifest, _ = read_manifest(path if isinstance(path, ManifestFiles) else files_at(path), environ)
    return manifest


def read_manifest(files: ManifestFiles, environ: Mapping[str, str] | None = None) -> tuple[Manifest, ManifestReading]:
    """Return the manifest in `files` and the state of its reading, which knows the places of its keys. Raises `ManifestError`."""
    environ = os.environ if environ is None else environ
    first, *others = _read_trees(files.existing())
    merged = reduce(partial(merge, rules=MANIFEST), map(_without_name, others), first)
    reading = ManifestReading(merged, files.first.absolute().parent, {})
    _warn_of_names(reading, first, others)
    _warn_of_replaced_images(reading, first, others)
    dotenv = _read_dotenv(reading, environ)
    inside = is_inside_instance(environ)
    reading.dotenv, reading.dotenv_positions = dotenv.values, dotenv.positions
    reading.environ = frozenset(name for name in environ if not (inside and name == REDIS_ENV))
    reading.variables = {
        **{name: value for name, value in dotenv.values.items() if name not in LISTEN_VARIABLES},
        **{name: environ[name] for name in reading.environ},
        "MINIKUBE_PYTHON": sys.executable,
    }
    manifest = build_manifest(reading, files.map(Path.absolute))
    if problems := reading.problems:
        raise ManifestError(*problems)
    return manifest, reading


def _read_trees(paths: Sequence[Path]) -> list[Node]:
    """Return the tree of each file. Raises ManifestError with the problems of all files that cannot be read."""
    trees: list[Node] = []
    problems: list[Problem] = []
    for index, path in enumerate(paths):
        try:
            trees.append(read_tree(path, index))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(*problems)
    return trees


def _without_name(tree: Node) -> Node:
    """Return the tree of a later file without its `name`: a project has the name that the first file or its directory gives."""
    return tree.with_value({key: node for key, node in tree.value.items() if key != "name"})


def _warn_of_names(reading: ManifestReading, first: Node, others: Sequence[Node]) -> None:
    """Warn of each later file that has another `name` than the first one."""
    own = first.child("name")
    for tree in others:
        name = tree.child("name")
        if name is not None and (own is None or own.value != name.value):
            reading.warn_node(name, f"is not used, {first.source.file} or its directory gives the project its name")


def _warn_of_replaced_images(reading: ManifestReading, first: Node, others: Sequence[Node]) -> None:
    """Warn of each service that a later file makes a process of, without saying so."""
    earlier = first
    for tree in others:
        services = earlier.child("services")
        for name, service in _services(tree).items():
            before = services.child(name) if services else None
            if before is not None:
                warn_of_replaced_image(reading, before, service)
        earlier = merge(earlier, tree, MANIFEST)


def _services(tree: Node) -> Mapping[str, Node]:
    services = tree.child("services")
    return services.value if services is not None and isinstance(services.value, dict) else {}


def _read_dotenv(reading: ManifestReading, environ: Mapping[str, str]) -> VariablesFile:
    """Return the content of `.env`, empty where there is none; record its problems and its lines that are no assignments."""
    path = reading.dotenv_path
    try:
        content = read_variables(path, environ)
    except FileNotFoundError:
        return VariablesFile()
    except OSError as error:
        text = f"cannot be read ({(error.strerror or 'unreadable').lower()})"
        reading.fail_file(Problem(printable(str(path)), text))
        return VariablesFile()
    except ManifestError as error:
        for problem in error.problems:
            reading.fail_file(problem)
        return VariablesFile()
    for line in content.ignored:
        reading.warn_ignored(path, line)
    return content


def build_manifest(reading: ManifestReading, files: ManifestFiles) -> Manifest:
    """Return the manifest for the tree of `reading`, which was read from `files`. Record its problems in `reading`."""
    reading.tree = inherit(reading)
    raw = reading.tree.plain()
    raw_services = raw.get("services")
    all_services = raw_services.values() if isinstance(raw_services, dict) else ()
    # `[env]` holds for all services, so its strings may name the port of any.
    ports = frozenset[str]().union(*map(parser.port_variables, all_services))
    keys = parser.MANIFEST.read(raw, KeyPath(reading, ports=ports)) or {}
    # Valid services are validated further although other services have problems.
    services = keys.pop("services", None) or _readable(raw_services, reading)
    env_files, file_env = keys.pop("env_file", ((), {}))
    shared = SharedEnvironment(keys.pop("env", {}), env_files, file_env)
    check_environment(reading, shared.env, services)
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
    return Manifest(
        path=files.first,
        overrides=files.overrides,
        finds_override=files.finds_override,
        directory=reading.directory,
        services=services,
        warnings=tuple(map(str, reading.warnings)),
        **keys,
    )


def _readable(raw: object, reading: ManifestReading) -> dict[str, Any]:
    """Return the valid services by name. Used after other services had problems, which are recorded already."""
    quiet = ManifestReading(reading.tree, reading.directory, reading.variables, reading.dotenv)
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
                validate.service_path(name, "depends_on", needed),
                "is no service of this manifest, and is not waited for",
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
    return to_dns_label(directory.name) or "minikube"
