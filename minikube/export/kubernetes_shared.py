"""The objects that all pods share in Kubernetes: configuration, the registry, Redis.

The registry's certificate and key are a Secret of type kubernetes.io/tls that the user creates: an export must not contain
a private key. The pods of services get the certificate only.
"""

from minikube.defaults import CA_ENV, REDIS_ENV, TOKEN_ENV
from minikube.export.workloads import REDIS_PORT, REGISTRY_PORT, ExportPlan
from minikube.export.yaml_documents import Document, Tree

CERT_DIR = "/run/minikube"
TLS_SECRET = "registry-tls"
CERT_VOLUME: Tree = {
    "name": "registry-cert",
    "secret": {"secretName": TLS_SECRET, "items": [{"key": "tls.crt", "path": "tls.crt"}]},
}
CERT_MOUNT: Tree = {"name": "registry-cert", "mountPath": CERT_DIR, "readOnly": True}
FILE = "shared.yaml"
"""The file of these objects, for an export into a directory."""
STORAGE = "1Gi"
"""The size of each volume claim, a guess that a note points out."""
USER_ID = 10001
"""The user of the registry's image, see the Dockerfile."""


def shared_config_names(plan: ExportPlan) -> tuple[str, str]:
    """Return the names of the ConfigMap and the Secret that every pod reads."""
    # With a dot, which the name of a service cannot have.
    return f"{plan.manifest.name}.shared", f"{plan.manifest.name}.shared"


def metadata(plan: ExportPlan, name: str, component: str = "") -> Tree:
    """Return the `metadata` of an object of a component; `component` is needed where the object has another name."""
    labels = {
        "app.kubernetes.io/name": component or name,
        "app.kubernetes.io/part-of": plan.manifest.name,
        "app.kubernetes.io/managed-by": "mini-kube-discovery",
    }
    return {"name": name, "labels": labels}


def shared_documents(plan: ExportPlan, placeholder: str) -> list[Document]:
    """Return the objects of the shared configuration, Redis and the registry, with `placeholder` for secret values."""
    config, secret = shared_config_names(plan)
    config_data = {"MINIKUBE_REGISTRY": plan.registry_address, CA_ENV: f"{CERT_DIR}/tls.crt"}
    secrets = {TOKEN_ENV: plan.manifest.registry.token}
    (secrets if plan.redis_url_is_secret else config_data).update(
        {"REDIS_URL": plan.redis_url, REDIS_ENV: plan.redis_url}
    )
    secret_data = {
        name: value if plan.options.with_secrets and value else placeholder for name, value in secrets.items()
    }
    trees: list[Tree] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(plan, config, plan.manifest.name),
            "data": config_data,
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(plan, secret, plan.manifest.name),
            "type": "Opaque",
            "stringData": secret_data,
        },
    ]
    missing = [name for name, value in secret_data.items() if value == placeholder]
    if missing:
        plan.add_note("registry.token", f"{placeholder} in the Secret {secret}: {', '.join(missing)}")
    plan.add_note(
        "registry.tls",
        f"beyond loopback the registry requires TLS — create its Secret first: openssl req -x509 -newkey rsa:2048 -nodes"
        f" -days 365 -subj /CN={plan.registry} -addext subjectAltName=DNS:{plan.registry} -out tls.crt -keyout tls.key"
        f" && kubectl create secret tls {TLS_SECRET} --cert=tls.crt --key=tls.key",
    )
    if plan.redis:
        plan.add_note(plan.redis, f"storage: {STORAGE} is a default — set the size that it needs")
        trees += _redis(plan)
    return [Document(FILE, tree) for tree in [*trees, *_registry(plan)]]


def _redis(plan: ExportPlan) -> list[Tree]:
    """Return Redis as a StatefulSet, its Service, and a NetworkPolicy that admits the project's pods only."""
    name = plan.redis
    container: Tree = {
        "name": name,
        "image": plan.redis_image,
        "args": ["redis-server", "--appendonly", "yes"],
        "ports": [{"name": "redis", "containerPort": REDIS_PORT}],
        "readinessProbe": {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 5, "timeoutSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": STORAGE}}},
    }
    body: Tree = {
        "serviceName": name,
        "replicas": 1,
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "template": _pod(plan, name, container, []),
        "volumeClaimTemplates": [claim],
    }
    allowed = {"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": plan.manifest.name}}}
    policy = {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [allowed], "ports": [{"port": REDIS_PORT}]}],
    }
    return [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(plan, name), "spec": body},
        _service(plan, name, "redis", REDIS_PORT),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(plan, name),
            "spec": policy,
        },
    ]


def _registry(plan: ExportPlan) -> list[Tree]:
    """Return the registry as a Deployment and a Service."""
    name = plan.registry
    config, secret = shared_config_names(plan)
    arguments = ["registry", "--listen", f"0.0.0.0:{REGISTRY_PORT}"]
    arguments += ["--tls-cert", f"{CERT_DIR}/tls.crt", "--tls-key", f"{CERT_DIR}/tls.key"]
    if plan.manifest.redis.prefix != "{minikube}":
        arguments += ["--prefix", plan.manifest.redis.prefix]
    for host in plan.manifest.registry.allow_checks:
        arguments += ["--allow-checks", host]
    container: Tree = {
        "name": name,
        "image": plan.registry_image,
        "args": [word.replace("$(", "$$(") for word in arguments],
        "envFrom": [{"configMapRef": {"name": config}}, {"secretRef": {"name": secret}}],
        "ports": [{"name": "rpc", "containerPort": REGISTRY_PORT}],
        "readinessProbe": {"tcpSocket": {"port": REGISTRY_PORT}, "periodSeconds": 5, "timeoutSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "registry-tls", "mountPath": CERT_DIR, "readOnly": True}],
    }
    template = _pod(
        plan, name, container, [{"name": "registry-tls", "secret": {"secretName": TLS_SECRET, "defaultMode": 0o440}}]
    )
    template["spec"]["securityContext"] |= {"runAsNonRoot": True, "runAsUser": USER_ID, "fsGroup": USER_ID}
    body = {"replicas": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}, "template": template}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(plan, name), "spec": body},
        _service(plan, name, "rpc", REGISTRY_PORT),
    ]


def _pod(plan: ExportPlan, name: str, container: Tree, volumes: list[Tree]) -> Tree:
    """Return the template of a pod with one container."""
    spec: Tree = {
        "automountServiceAccountToken": False,
        # Otherwise a Service called `redis` would set REDIS_PORT to a URL in every pod.
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if volumes:
        spec["volumes"] = volumes
    return {"metadata": {"labels": metadata(plan, name)["labels"]}, "spec": spec}


def _service(plan: ExportPlan, name: str, port: str, number: int) -> Tree:
    """Return a Service for the component `name`, with the named port."""
    spec = {"selector": {"app.kubernetes.io/name": name}, "ports": [{"name": port, "port": number, "targetPort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(plan, name), "spec": spec}
