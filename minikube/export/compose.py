"""The export for Docker Compose: one file.

Secrets are written as `${NAME:?…}`: Compose reads them from its environment or from `.env`, and refuses to start without
them. Every other dollar sign is doubled, because Compose would interpolate it.
"""

import os
from pathlib import Path

from minikube.defaults import CA_ENV, REDIS_ENV, TOKEN_ENV
from minikube.engine.arguments import publish_argument
from minikube.export.compose_health import (
    duration,
    escape_dollars,
    healthcheck,
    healthcheck_settings,
    replace_instance_id,
)
from minikube.export.workloads import (
    INSTANCE_ID_MARKER,
    REGISTRY_PORT,
    ExportPlan,
    Workload,
    expand,
    group_labels,
    uses_instance_id,
    variable_name,
)
from minikube.export.yaml_documents import Document, Tree
from minikube.manifest import EnvFile, HealthSpec, VolumeSpec
from minikube.project.instance_ports import listeners

DEPENDENCY_CONDITIONS = {
    "started": "service_started",
    "healthy": "service_healthy",
    "completed": "service_completed_successfully",
    "exited": "service_completed_successfully",
}
RESTART_POLICIES = {"always": "unless-stopped", "on-failure": "on-failure", "never": "no"}
ULIMITS = (
    "core",
    "cpu",
    "data",
    "fsize",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "sigpending",
    "stack",
)
"""The limits of a service that Compose takes as `ulimits`."""

CERT, KEY = "registry-cert", "registry-key"
"""Names of the Compose secrets with the registry's certificate and private key."""

FILE = "compose.yaml"


def compose_documents(plan: ExportPlan) -> list[Document]:
    """Return the Compose file as a list of one document. Add a note to `plan` for each manifest key without a counterpart."""
    services: Tree = {}
    if plan.redis:
        services[plan.redis] = _redis(plan)
    services[plan.registry] = _registry(plan)
    for name, workload in plan.workloads.items():
        services[name] = _service(plan, workload)
    tree: Tree = {"name": plan.manifest.name, "services": services, "networks": {"default": {}}}
    named = [
        volume.source
        for workload in plan.workloads.values()
        for volume in workload.spec.volumes
        if volume.source and not volume.is_path
    ]
    volumes = [*([f"{plan.redis}-data"] if plan.redis else []), *dict.fromkeys(named)]
    if volumes:
        tree["volumes"] = {name: {} for name in volumes}
    tls = plan.manifest.registry.tls
    cert, key = (str(tls.cert), str(tls.key)) if tls else (f"./{CERT}.pem", f"./{KEY}.pem")
    tree["secrets"] = {CERT: {"file": cert}, KEY: {"file": key}}
    _note_secrets(plan, without_certificate=tls is None)
    return [Document(FILE, tree)]


def _note_secrets(plan: ExportPlan, *, without_certificate: bool) -> None:
    """Add notes to the plan about the secrets that the user has to provide: the registry's certificate, variables."""
    if without_certificate:
        plan.add_note(
            "registry.tls",
            f"beyond loopback the registry requires TLS — create its files first: openssl req -x509 -newkey rsa:2048 -nodes"
            f" -days 365 -subj /CN={plan.registry} -addext subjectAltName=DNS:{plan.registry}"
            f" -out {CERT}.pem -keyout {KEY}.pem && chmod 644 {KEY}.pem",
        )
    names = [name for name, _ in _secret_variables(plan)]
    if names and not plan.options.with_secrets:
        plan.add_note("secrets", f"set in .env or the environment before `docker compose up`: {', '.join(names)}")


def _secret_variables(plan: ExportPlan) -> list[tuple[str, str]]:
    """Return the environment variable and the value of each secret of the project."""
    variables = [(TOKEN_ENV, plan.manifest.registry.token)]
    if plan.redis_url_is_secret:
        variables.append((REDIS_ENV, plan.redis_url))  # REDIS_URL of .env may be the application's
    for workload in plan.workloads.values():
        variables += [
            (variable_name(workload.spec.name, name), value) for name, value in _env_secrets(workload).items()
        ]
    return variables


def _env_secrets(workload: Workload) -> dict[str, str]:
    """Return the variables of a workload's `env` that are secrets. Compose itself reads those in `env_file`."""
    return {name: value for name, value in workload.secrets.items() if name in workload.spec.env}


def _secret_value(plan: ExportPlan, variable: str, value: str) -> str:
    """Return the secret `value` if the user wants secrets in the file, else a reference to `variable` for Compose."""
    if plan.options.with_secrets and value:
        return escape_dollars(value)
    return f"${{{variable}:?set it in .env or in the environment}}"


def _redis(plan: ExportPlan) -> Tree:
    """Return the Compose service of Redis."""
    return {
        "image": plan.redis_image,
        "command": ["redis-server", "--appendonly", "yes"],
        "restart": "unless-stopped",
        "volumes": [f"{plan.redis}-data:/data"],
        "healthcheck": healthcheck_settings(["CMD", "redis-cli", "ping"], HealthSpec("tcp", interval=2.0)),
        "stop_grace_period": "10s",
    }


def _registry(plan: ExportPlan) -> Tree:
    """Return the Compose service of the registry."""
    settings = plan.manifest.registry
    command = ["registry", "--listen", f"0.0.0.0:{REGISTRY_PORT}"]
    command += ["--tls-cert", f"/run/secrets/{CERT}", "--tls-key", f"/run/secrets/{KEY}"]
    if plan.manifest.redis.prefix != "{minikube}":
        command += ["--prefix", plan.manifest.redis.prefix]
    for host in settings.allow_checks:
        command += ["--allow-checks", host]
    python = f"import socket; socket.create_connection(('127.0.0.1', {REGISTRY_PORT}), 2)"
    tree: Tree = {
        "image": plan.registry_image,
        "command": [escape_dollars(word) for word in command],
        "restart": "unless-stopped",
        "environment": _shared_environment(plan, for_registry=True),
        "secrets": [CERT, KEY],
        "healthcheck": healthcheck_settings(["CMD", "python", "-c", python], HealthSpec("tcp")),
    }
    if plan.redis:
        tree["depends_on"] = {plan.redis: {"condition": "service_healthy"}}
    return tree


def _shared_environment(plan: ExportPlan, *, for_registry: bool = False) -> dict[str, str]:
    """Return the environment of every container: the addresses of Redis and the registry, the token, the certificate."""
    url = _secret_value(plan, REDIS_ENV, plan.redis_url) if plan.redis_url_is_secret else escape_dollars(plan.redis_url)
    env = {"REDIS_URL": url, REDIS_ENV: url, TOKEN_ENV: _secret_value(plan, TOKEN_ENV, plan.manifest.registry.token)}
    return env if for_registry else {"MINIKUBE_REGISTRY": plan.registry_address, CA_ENV: f"/run/secrets/{CERT}"} | env


def _host_path(plan: ExportPlan, path: Path) -> str:
    """Return the text that the Compose file has for a host path in the manifest.

    It is relative to the file when both are in the project's directory, which may be moved or cloned; otherwise absolute.
    """
    output_dir, project = plan.options.output_dir, plan.manifest.directory
    if output_dir is None or not (path.is_relative_to(project) and output_dir.is_relative_to(project)):
        return str(path)
    relative = os.path.relpath(path, output_dir)
    # Without a leading dot Compose takes the source of a volume for the name of one.
    return relative if relative.split(os.sep)[0] in (".", "..") else f"./{relative}"


def _env_file(plan: ExportPlan, file: EnvFile) -> str | Tree:
    path = _host_path(plan, file.path)
    return path if file.required else {"path": path, "required": False}


def _service(plan: ExportPlan, workload: Workload) -> Tree:
    """Return the Compose service of a workload."""
    spec = workload.spec
    tree = _image(plan, workload) | _process(workload)
    if spec.env_file:
        tree["env_file"] = [_env_file(plan, file) for file in spec.env_file]
    tree["environment"] = _environment(plan, workload)
    tree["secrets"] = [CERT]
    tree |= _depends_on(plan, workload)
    if workload.kind == "service":
        tree["restart"] = RESTART_POLICIES[spec.restart.policy]
    else:
        tree["restart"] = "on-failure" if spec.restart.policy == "on-failure" else "no"
    if check := healthcheck(plan, workload):
        tree["healthcheck"] = check
    tree |= {"stop_signal": f"SIG{spec.stop.signal}", "stop_grace_period": duration(spec.stop.timeout)}
    if spec.stop.argv:
        tree["pre_stop"] = [
            {"command": [replace_instance_id(expand(workload, word, plan), spec.name) for word in spec.stop.argv]}
        ]
    tree |= _ports(plan, workload) | _resource_limits(plan, workload)
    if spec.volumes:
        tree["volumes"] = [_mount(plan, volume) for volume in spec.volumes]
    labels = {f"mini-kube-discovery.tag.{tag}": "true" for tag in spec.tags} | spec.meta
    if labels := group_labels(spec, "mini-kube-discovery.group.") | labels:
        tree["labels"] = {name: escape_dollars(value) for name, value in labels.items()}
    # Compose counts the current file as well, the manifest only the rotated ones.
    size = {"max-size": f"{max(1, spec.logs.max_size // 1024)}k", "max-file": str(spec.logs.keep + 1)}
    tree["logging"] = {"driver": "local", "options": size}
    if spec.schedule:
        tree["profiles"] = ["schedule"]
    _add_notes(plan, workload)
    return tree


def _image(plan: ExportPlan, workload: Workload) -> Tree:
    """Return where the image of a workload comes from."""
    spec = workload.spec
    tree: Tree = {"image": workload.image}
    if spec.build:
        build = {
            "context": _host_path(plan, spec.build.context),
            "dockerfile": spec.build.dockerfile,
            "target": spec.build.target,
        }
        tree["build"] = {name: value for name, value in build.items() if value}
        if spec.build.args:
            tree["build"]["args"] = {name: escape_dollars(value) for name, value in spec.build.args.items()}
        tree["pull_policy"] = "build" if spec.pull != "always" else "always"
    elif spec.runtime == "container":
        tree["pull_policy"] = spec.pull
    return tree


def _process(workload: Workload) -> Tree:
    """Return the command of a workload, and the directory, user and profiles with which it runs."""
    spec = workload.spec
    words = {
        "entrypoint": [replace_instance_id(word, spec.name) for word in workload.entrypoint or ()],
        "command": [replace_instance_id(word, spec.name) for word in workload.command],
        "working_dir": spec.workdir,
        "user": ":".join(part for part in (spec.user, spec.group) if part),
        "init": spec.init,
        "extra_hosts": spec.extra_hosts,
        "profiles": list(spec.profiles),
    }
    tree = {name: value for name, value in words.items() if value}
    if workload.entrypoint == ():
        tree["entrypoint"] = []
    if spec.group and not spec.user:
        tree["user"] = f"0:{spec.group}"
    return tree


def _add_notes(plan: ExportPlan, workload: Workload) -> None:
    """Note what of a workload Compose cannot have."""
    spec = workload.spec
    key = f"services.{spec.name}"
    if spec.schedule:
        advice = f"let cron run: docker compose run --rm {spec.name}"
        plan.add_note(f"{key}.schedule", f"Compose has no schedules — {advice}")
    if spec.on_exit != "keep":
        option = "--abort-on-container-exit" if spec.on_exit == "stop-all" else "--abort-on-container-failure"
        text = f"is an option of Compose, for all services: docker compose up {option} --exit-code-from {spec.name}"
        plan.add_note(f"{key}.on_exit", text)
    if spec.watch:
        plan.add_note(f"{key}.watch", "is not carried over — see `develop.watch` in Compose's manual")
    if uses_instance_id(workload):
        plan.add_note(key, "uses ${INSTANCE_ID}, which Compose does not have — the service's name is used instead")


def _mount(plan: ExportPlan, volume: VolumeSpec) -> str:
    """Return a volume of the manifest as Compose writes it: `source:target:options`."""
    options = ",".join((*(("ro",) if volume.read_only else ()), *volume.options))
    target = escape_dollars(volume.target) + (f":{options}" if options else "")
    if not volume.source:
        return target
    source = _host_path(plan, Path(volume.source)) if volume.is_path else volume.source
    return f"{escape_dollars(source)}:{target}"


def _environment(plan: ExportPlan, workload: Workload) -> dict[str, str]:
    """Return the environment of a workload's container."""
    name = workload.spec.name
    env = {"HOST": "0.0.0.0", "SERVICE_NAME": name} | workload.ports.variables
    shared = _shared_environment(plan)
    if "REDIS_URL" in workload.spec.file_env:  # Compose reads it there, and `environment` would win over it
        del shared["REDIS_URL"]
    env |= shared | {key: replace_instance_id(value, name) for key, value in workload.env.items()}
    secrets = {key: value.replace(INSTANCE_ID_MARKER, name) for key, value in _env_secrets(workload).items()}
    return env | {key: _secret_value(plan, variable_name(name, key), value) for key, value in secrets.items()}


def _depends_on(plan: ExportPlan, workload: Workload) -> Tree:
    """Return Compose's `depends_on`: the registry, and the services of the manifest's `depends_on`."""
    conditions: Tree = {plan.registry: {"condition": "service_healthy"}}
    spec = workload.spec
    for name, condition in spec.depends_on.items():
        other = plan.workloads[name]
        checked = other.spec.health and other.spec.health.kind != "log"
        entry: Tree = {"condition": DEPENDENCY_CONDITIONS[condition]}
        if condition == "healthy" and not checked:
            entry["condition"] = DEPENDENCY_CONDITIONS["started"]
            plan.add_note(
                f"services.{spec.name}.depends_on.{name}", f"{name} has no check there — it only has to be started"
            )
        if condition == "exited":
            # Compose waits for its end, and only warns of a failure of what is not required.
            text = "Compose warns where it fails, and goes on — it does not start it by itself"
            plan.add_note(f"services.{spec.name}.depends_on.{name}", text)
        profiles_differ = set(other.spec.profiles) - set(spec.profiles)
        if profiles_differ or other.spec.schedule or condition == "exited" or name in spec.optional_dependencies:
            # A profile may leave it out; Compose would then reject the whole file.
            entry["required"] = False
        conditions[name] = entry
    return {"depends_on": conditions}


def _ports(plan: ExportPlan, workload: Workload) -> Tree:
    """Return `ports` or `expose` of a workload. Ports of the manifest are published with the same numbers, free ones are not."""
    spec, found = workload.spec, {"ports": list[str](), "expose": list[str]()}
    for _, name, port in listeners(spec):
        number = workload.ports.named[name] if name else workload.port
        protocol = f"/{port.protocol}" if port.protocol != "tcp" else ""
        first, last = port.bounds
        published = str(first) if first == last else f"{first}-{last}"
        if first:
            found["ports"].append(publish_argument(spec.host, published, number, port.protocol).removesuffix("/tcp"))
        else:
            found["expose"].append(f"{number}{protocol}")
    return {key: words for key, words in found.items() if words}


def _resource_limits(plan: ExportPlan, workload: Workload) -> Tree:
    """Return a workload's replicas, resource limits and ulimits."""
    limits = workload.spec.limits
    resources: Tree = {}
    if limits.get("cpus", -1) > 0:
        resources["cpus"] = f"{limits['cpus']:g}"
    if limits.get("memory", -1) > 0:
        resources["memory"] = f"{int(limits['memory'])}b"
    if limits.get("pids", -1) > 0:
        resources["pids"] = int(limits["pids"])
    deploy: Tree = {"replicas": workload.spec.replicas} if workload.spec.replicas != 1 else {}
    if resources:
        deploy["resources"] = {"limits": resources}
    ulimits = {name: int(value) for name, value in limits.items() if name in ULIMITS}
    for name in limits.keys() - {"cpus", "memory", "pids", *ULIMITS}:
        plan.add_note(f"services.{workload.spec.name}.limits.{name}", "has no counterpart in Compose")
    return {name: value for name, value in (("deploy", deploy), ("ulimits", ulimits)) if value}
