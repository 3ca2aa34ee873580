"""`supervisor.toml`: read, validated and typed.

    spec         the result: frozen structs, with every default
    load         from the file to a `Manifest`: all problems of a manifest in one error
    parser       every key of a manifest and what its value becomes
    shapes       the kinds of values that `parser` is made of: a shape reads a value and describes it in the JSON Schema
    keys/        commands, containers and limits: keys that need code of their own
    validate     rules between several keys: dependency cycles, ports, addresses beyond loopback, replicas
    values       strings with a form of their own: addresses, signals, schedules, masks
    interpolate  `${VAR}` in strings, at once and at an instance's start (`${PORT}`)
    env_file     `.env` files
    diagnostics  key paths, problems, warnings, "did you mean"
    locate       the line of a key in the file
    hints        words of other tools, for "did you mean"
    masking      commands as they are shown, without secrets
    dump         a `Manifest` back to TOML: `minikube config`

It refuses to start anything and to resolve host or user names: whether this machine can run a manifest is `doctor`'s matter.
"""

from minikube.manifest.interpolate import fill_instance_variables, template_text
from minikube.manifest.load import load_manifest, schema_json
from minikube.manifest.masking import shown_command
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
from minikube.manifest.values import has_ipv4_loopback, is_loopback, parse_host_port, parse_signal

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
    "fill_instance_variables",
    "has_ipv4_loopback",
    "is_loopback",
    "load_manifest",
    "parse_host_port",
    "parse_signal",
    "schema_json",
    "shown_command",
    "template_text",
]
