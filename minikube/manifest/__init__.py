"""`supervisor.toml`: read, validated and typed.

    spec         the result: frozen structs, with every default
    load         from files to a `Manifest`: all problems of a manifest in one error
    files        TOML files as trees, and `.env` files, with the places of their mistakes
    tree/        the content of TOML files, with the place of each key, value and list item
    layers/      several files, `[defaults]` and extended services as one tree; where each value comes from
    parser       every key of a manifest and what its value becomes
    shapes       the kinds of values that `parser` is made of: a shape reads a value and describes it in the JSON Schema
    keys/        commands, containers, environment, limits and ports: keys that need code of their own
    validate     rules between several keys: dependency cycles, ports, addresses beyond loopback, replicas
    given        warnings about variables that an instance is given by the supervisor
    values       strings with a form of their own: addresses, signals, schedules, masks
    variables/   `${VAR}` in strings, `.env` files, the environment of a service from all its sources
    diagnostics  key paths, problems, warnings, "did you mean"
    hints        words of other tools, for "did you mean"
    masking      commands as they are shown, without secrets
    json_schema  the parts of the JSON Schema: one exact message for each mistake
    schema/      the whole JSON Schema: `minikube schema`
    dump         a `Manifest` back to TOML: `minikube config`

It refuses to start anything and to resolve host or user names: whether this machine can run a manifest is `doctor`'s matter.
"""

from minikube.manifest.load import load_manifest
from minikube.manifest.masking import shown_command
from minikube.manifest.spec import (
    HOST_GATEWAY,
    BuildSpec,
    Condition,
    ContainerSettings,
    ControlSettings,
    EnvFile,
    HealthSpec,
    HostPort,
    LogSpec,
    Manifest,
    PortSpec,
    RedisSettings,
    RegistrySettings,
    RestartSpec,
    ServiceSpec,
    StopSpec,
    TlsSettings,
    VolumeSpec,
)
from minikube.manifest.values import has_ipv4_loopback, is_loopback, parse_host_port, parse_signal
from minikube.manifest.variables.interpolate import fill_instance_variables, port_variable, template_text

__all__ = [
    "HOST_GATEWAY",
    "BuildSpec",
    "Condition",
    "ContainerSettings",
    "ControlSettings",
    "EnvFile",
    "HealthSpec",
    "HostPort",
    "LogSpec",
    "Manifest",
    "PortSpec",
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
    "port_variable",
    "shown_command",
    "template_text",
]
