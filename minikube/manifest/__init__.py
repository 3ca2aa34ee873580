"""`supervisor.toml`, read, checked and typed (floor 0).

    structs      what a manifest says: frozen, every default in one place
    interpolate  ${VAR} in strings, and .env files
    place        key paths, problems, hints
    values       what some strings mean: addresses, signals
    shapes       how one value is read and how the JSON Schema describes it, said once
    containers   the keys that only a container has
    reader       the tree of all keys, made of shapes
    rules        what no single value can show: cycles, ports, addresses beyond loopback
    load         file → Manifest, all problems at once

It starts nothing and resolves no names: whoever runs a manifest judges what this machine can do.
"""

from minikube.manifest.interpolate import fill
from minikube.manifest.load import load_manifest, schema_json
from minikube.manifest.spec import (
    BuildSpec,
    Condition,
    ContainerSettings,
    ControlSettings,
    HealthSpec,
    HostPort,
    LogSpec,
    Manifest,
    RedisSettings,
    RegistrySettings,
    RestartSpec,
    ServiceSpec,
    StopSpec,
    TlsSettings,
    VolumeSpec,
)
from minikube.manifest.values import is_loopback, parse_host_port, parse_signal

__all__ = [
    "BuildSpec",
    "Condition",
    "ContainerSettings",
    "ControlSettings",
    "HealthSpec",
    "HostPort",
    "LogSpec",
    "Manifest",
    "RedisSettings",
    "RegistrySettings",
    "RestartSpec",
    "ServiceSpec",
    "StopSpec",
    "TlsSettings",
    "VolumeSpec",
    "fill",
    "is_loopback",
    "load_manifest",
    "parse_host_port",
    "parse_signal",
    "schema_json",
]
