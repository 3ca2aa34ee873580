"""Plan → a Compose file (floor 2, pure).

Secrets are `${NAME:?…}`: Compose reads them from its environment or from `.env`, and refuses to start without. A dollar of
ours is written twice, since Compose interpolates too.
"""

import math
import os
from pathlib import Path
from urllib.parse import urlsplit

from minikube.addresses import join_host_port
from minikube.defaults import CA_ENV, TOKEN_ENV
from minikube.export.documents import Document, Tree
from minikube.export.plan import (
    OWN_ID,
    REGISTRY_PORT,
    ExportPlan,
    Note,
    Workload,
    filled,
    uses_own_id,
    variable_name,
)
from minikube.manifest import HealthSpec

CONDITIONS = {"started": "service_started", "healthy": "service_healthy", "completed": "service_completed_successfully"}
RESTARTS = {"always": "unless-stopped", "on-failure": "on-failure", "never": "no"}
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
CERT, KEY = "registry-cert", "registry-key"
FILE = "compose.yaml"

HTTP_CHECK = """\
wget -qO /dev/null {url} 2>/dev/null || curl -fsSo /dev/null {url} 2>/dev/null || python3 -c 'import urllib.request as r; \
r.urlopen("{url}", timeout={timeout})'"""
"""With what the image has: BusyBox and Debian have wget, many have curl, Python's have neither."""

TCP_CHECK = """\
nc -z 127.0.0.1 {port} 2>/dev/null || python3 -c 'import socket; socket.create_connection(("127.0.0.1", {port}), {timeout})'"""


def compose_documents(plan: ExportPlan) -> list[Document]:
    """One document. What has no counterpart is added to the plan's notes."""
    services: Tree = {}
    if plan.redis:
        services[plan.redis] = _redis(plan)
    services[plan.registry] = _registry(plan)
    for name, workload in plan.workloads.items():
        services[name] = _service(plan, workload)
    tree: Tree = {"name": plan.manifest.name, "services": services, "networks": {"default": {}}}
    named = [volume.source for one in plan.workloads.values() for volume in one.spec.volumes if not volume.is_path]
    volumes = [*([f"{plan.redis}-data"] if plan.redis else []), *dict.fromkeys(named)]
    if volumes:
        tree["volumes"] = {name: {} for name in volumes}
    tls = plan.manifest.registry.tls
    cert, key = (str(tls.cert), str(tls.key)) if tls else (f"./{CERT}.pem", f"./{KEY}.pem")
    tree["secrets"] = {CERT: {"file": cert}, KEY: {"file": key}}
    _tell_secrets(plan, made=tls is None)
    return [Document(FILE, tree)]


def _tell_secrets(plan: ExportPlan, *, made: bool) -> None:
    if made:
        plan.notes.append(
            Note(
                "registry.tls",
                f"beyond loopback the registry wants TLS — make its files first: openssl req -x509 -newkey rsa:2048 -nodes"
                f" -days 365 -subj /CN={plan.registry} -addext subjectAltName=DNS:{plan.registry}"
                f" -out {CERT}.pem -keyout {KEY}.pem && chmod 644 {KEY}.pem",
            )
        )
    names = [name for name, _ in _placeholders(plan)]
    if names and not plan.choices.with_secrets:
        plan.notes.append(
            Note("secrets", f"set in .env or the environment before `docker compose up`: {', '.join(names)}")
        )


def _placeholders(plan: ExportPlan) -> list[tuple[str, str]]:
    """Every secret's variable and its value here."""
    found = [(TOKEN_ENV, plan.manifest.registry.token)]
    if plan.redis_url_is_secret:
        found.append(("REDIS_URL", plan.redis_url))
    for workload in plan.workloads.values():
        found += [(variable_name(workload.spec.name, name), value) for name, value in _own_secrets(workload).items()]
    return found


def _own_secrets(workload: Workload) -> dict[str, str]:
    """Those of `env`: Compose reads an `env_file` as we do."""
    return {name: value for name, value in workload.secrets.items() if name in workload.spec.env}


def _secret(plan: ExportPlan, variable: str, value: str) -> str:
    if plan.choices.with_secrets and value:
        return _plain(value)
    return f"${{{variable}:?set it in .env or in the environment}}"


def _plain(text: str) -> str:
    return text.replace("$", "$$")


def _redis(plan: ExportPlan) -> Tree:
    return {
        "image": plan.redis_image,
        "command": ["redis-server", "--appendonly", "yes"],
        "restart": "unless-stopped",
        "volumes": [f"{plan.redis}-data:/data"],
        "healthcheck": _check(["CMD", "redis-cli", "ping"], HealthSpec("tcp", interval=2.0)),
        "stop_grace_period": "10s",
    }


def _registry(plan: ExportPlan) -> Tree:
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
        "command": [_plain(word) for word in command],
        "restart": "unless-stopped",
        "environment": _shared(plan, own=True),
        "secrets": [CERT, KEY],
        "healthcheck": _check(["CMD", "python", "-c", python], HealthSpec("tcp")),
    }
    if plan.redis:
        tree["depends_on"] = {plan.redis: {"condition": "service_healthy"}}
    return tree


def _shared(plan: ExportPlan, *, own: bool = False) -> dict[str, str]:
    """What every container is told; `own`: the registry itself."""
    url = _secret(plan, "REDIS_URL", plan.redis_url) if plan.redis_url_is_secret else _plain(plan.redis_url)
    env = {"REDIS_URL": url, TOKEN_ENV: _secret(plan, TOKEN_ENV, plan.manifest.registry.token)}
    return env if own else {"MINIKUBE_REGISTRY": plan.registry_address, CA_ENV: f"/run/secrets/{CERT}"} | env


def _path(plan: ExportPlan, path: Path) -> str:
    """As seen from the file, where both are in the project's directory: that may be moved or cloned. Otherwise absolute."""
    beside, project = plan.choices.beside, plan.manifest.directory
    if beside is None or not (path.is_relative_to(project) and beside.is_relative_to(project)):
        return str(path)
    found = os.path.relpath(path, beside)
    return found if found.split(os.sep)[0] in (".", "..") else f"./{found}"


def _service(plan: ExportPlan, workload: Workload) -> Tree:
    spec = workload.spec
    key = f"services.{spec.name}"
    tree: Tree = {"image": workload.image}
    if spec.build:
        build = {
            "context": _path(plan, spec.build.context),
            "dockerfile": spec.build.dockerfile,
            "target": spec.build.target,
        }
        tree["build"] = {name: value for name, value in build.items() if value}
        if spec.build.args:
            tree["build"]["args"] = {name: _plain(value) for name, value in spec.build.args.items()}
        tree["pull_policy"] = "build" if spec.pull != "always" else "always"
    elif spec.runtime == "container":
        tree["pull_policy"] = spec.pull
    words = {
        "command": [_own(word, spec.name) for word in workload.command],
        "working_dir": spec.workdir,
        "user": ":".join(part for part in (spec.user, spec.group) if part),
        "init": spec.init,
        "profiles": list(spec.profiles),
    }
    tree |= {name: value for name, value in words.items() if value}
    if spec.group and not spec.user:
        tree["user"] = f"0:{spec.group}"
    if spec.env_file:
        tree["env_file"] = [_path(plan, path) for path in spec.env_file]
    tree["environment"] = _environment(plan, workload)
    tree["secrets"] = [CERT]
    tree |= _depends(plan, workload)
    if workload.kind == "service":
        tree["restart"] = RESTARTS[spec.restart.policy]
    else:
        tree["restart"] = "on-failure" if spec.restart.policy == "on-failure" else "no"
    if check := _healthcheck(plan, workload):
        tree["healthcheck"] = check
    tree |= {"stop_signal": f"SIG{spec.stop.signal}", "stop_grace_period": _duration(spec.stop.timeout)}
    if spec.stop.command:
        tree["pre_stop"] = [{"command": [_own(filled(workload, word, plan), spec.name) for word in spec.stop.command]}]
    tree |= _ports(plan, workload) | _limits(plan, workload)
    if spec.volumes:
        tree["volumes"] = [
            f"{_plain(_path(plan, Path(one.source)) if one.is_path else one.source)}:{_plain(one.target)}"
            f"{':ro' if one.read_only else ''}"
            for one in spec.volumes
        ]
    if labels := {f"mini-kube-discovery.tag.{tag}": "true" for tag in spec.tags} | spec.meta:
        tree["labels"] = {name: _plain(value) for name, value in labels.items()}
    size = {"max-size": f"{max(1, spec.logs.max_size // 1024)}k", "max-file": str(spec.logs.keep + 1)}
    tree["logging"] = {"driver": "local", "options": size}
    if spec.schedule:
        tree["profiles"] = ["schedule"]
        plan.notes.append(
            Note(f"{key}.schedule", f"Compose has none — let cron run: docker compose run --rm {spec.name}")
        )
    if spec.watch:
        plan.notes.append(Note(f"{key}.watch", "is not carried over — see `develop.watch` in Compose's manual"))
    if uses_own_id(workload):
        plan.notes.append(Note(key, "uses ${INSTANCE_ID}: Compose has none, its name stands there"))
    return tree


def _own(text: str, name: str) -> str:
    return _plain(text.replace(OWN_ID, name))


def _environment(plan: ExportPlan, workload: Workload) -> dict[str, str]:
    name = workload.spec.name
    env = {"HOST": "0.0.0.0", "SERVICE_NAME": name} | ({"PORT": str(workload.port)} if workload.port else {})
    env |= _shared(plan) | {key: _own(value, name) for key, value in workload.env.items()}
    secrets = {key: value.replace(OWN_ID, name) for key, value in _own_secrets(workload).items()}
    return env | {key: _secret(plan, variable_name(name, key), value) for key, value in secrets.items()}


def _depends(plan: ExportPlan, workload: Workload) -> Tree:
    conditions: Tree = {plan.registry: {"condition": "service_healthy"}}
    spec = workload.spec
    for name, condition in spec.depends_on.items():
        other = plan.workloads[name]
        checked = other.spec.health and other.spec.health.kind != "log"
        entry: Tree = {"condition": CONDITIONS[condition]}
        if condition == "healthy" and not checked:
            entry["condition"] = CONDITIONS["started"]
            plan.notes.append(
                Note(
                    f"services.{spec.name}.depends_on.{name}", f"{name} has no check there — it has to be started only"
                )
            )
        if set(other.spec.profiles) - set(spec.profiles) or other.spec.schedule:
            entry["required"] = False  # it may be left out; Compose would refuse the whole file
        conditions[name] = entry
    return {"depends_on": conditions}


def _healthcheck(plan: ExportPlan, workload: Workload) -> Tree | None:
    health = workload.spec.health
    if health is None or health.kind == "log":
        return None
    timeout = math.ceil(health.timeout)
    if health.kind == "command":
        test = ["CMD", *(_own(filled(workload, word, plan), workload.spec.name) for word in health.command)]
    elif health.kind == "tcp":
        test = ["CMD-SHELL", TCP_CHECK.format(port=workload.port, timeout=timeout)]
    else:
        url = filled(workload, health.http, plan)
        whole = url if "://" in url else f"http://127.0.0.1:{workload.port}{url}"
        if any(mark in whole for mark in "'\"\\ `$;&|<>()"):
            whole = urlsplit(whole)._replace(query="", fragment="").geturl()
            plan.notes.append(
                Note(f"services.{workload.spec.name}.health.http", f"is checked without its query: {whole}")
            )
        test = ["CMD-SHELL", HTTP_CHECK.format(url=whole, timeout=timeout)]
    return _check(test, health)


def _check(test: list[str], health: HealthSpec) -> Tree:
    return {
        "test": test,
        "interval": _duration(health.interval),
        "timeout": _duration(health.timeout),
        "retries": max(health.failures, health.timeouts),
        "start_period": _duration(health.start_period),
        "start_interval": _duration(min(health.interval, 1.0)),
    }


def _ports(plan: ExportPlan, workload: Workload) -> Tree:
    """Published is what is so here. A container with its own address is not: one port of the machine would not do for all
    its replicas."""
    spec = workload.spec
    if spec.port and (spec.has_own_address or spec.replicas > 1):
        told = f"is not published, as here — others find it at {spec.name}:{workload.port}; `ports` would publish it"
        plan.notes.append(Note(f"services.{spec.name}.port", told))
    elif spec.port:
        return {"ports": [f"{join_host_port(spec.host, spec.port)}:{workload.port}"]}
    return {"expose": [str(workload.port)]} if workload.port else {}


def _limits(plan: ExportPlan, workload: Workload) -> Tree:
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
        plan.notes.append(Note(f"services.{workload.spec.name}.limits.{name}", "has no counterpart in Compose"))
    return {name: value for name, value in (("deploy", deploy), ("ulimits", ulimits)) if value}


def _duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
