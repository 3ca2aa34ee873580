"""The registry and Redis in Kubernetes, and what every pod is told (floor 2, pure).

Their certificate is a Secret of type kubernetes.io/tls that the user makes: a key does not belong into an export. Pods see
the certificate alone.
"""

from minikube.defaults import CA_ENV, TOKEN_ENV
from minikube.export.documents import Document, Tree
from minikube.export.plan import REDIS_PORT, REGISTRY_PORT, ExportPlan, Note

CERTS = "/run/minikube"
TLS_SECRET = "registry-tls"
CERT_VOLUME: Tree = {
    "name": "registry-cert",
    "secret": {"secretName": TLS_SECRET, "items": [{"key": "tls.crt", "path": "tls.crt"}]},
}
CERT_MOUNT: Tree = {"name": "registry-cert", "mountPath": CERTS, "readOnly": True}
FILE = "shared.yaml"
STORAGE = "1Gi"
USER = 10001
"""The image's (Dockerfile)."""


def shared_names(plan: ExportPlan) -> tuple[str, str]:
    """The ConfigMap and the Secret that every pod reads; no service's name has a dot."""
    return f"{plan.manifest.name}.shared", f"{plan.manifest.name}.shared"


def metadata(plan: ExportPlan, name: str, component: str = "") -> Tree:
    """`metadata` of an object that belongs to `component` (or bears its name)."""
    labels = {
        "app.kubernetes.io/name": component or name,
        "app.kubernetes.io/part-of": plan.manifest.name,
        "app.kubernetes.io/managed-by": "mini-kube-discovery",
    }
    return {"name": name, "labels": labels}


def cluster_documents(plan: ExportPlan, placeholder: str) -> list[Document]:
    """What all need, then Redis, then the registry."""
    config, secret = shared_names(plan)
    open_values = {"MINIKUBE_REGISTRY": plan.registry_address, CA_ENV: f"{CERTS}/tls.crt"}
    hidden = {TOKEN_ENV: plan.manifest.registry.token}
    (hidden if plan.redis_url_is_secret else open_values)["REDIS_URL"] = plan.redis_url
    shown = {name: value if plan.choices.with_secrets and value else placeholder for name, value in hidden.items()}
    trees: list[Tree] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(plan, config, plan.manifest.name),
            "data": open_values,
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(plan, secret, plan.manifest.name),
            "type": "Opaque",
            "stringData": shown,
        },
    ]
    open_names = [name for name, value in shown.items() if value == placeholder]
    if open_names:
        plan.notes.append(Note("registry.token", f"{placeholder} in the Secret {secret}: {', '.join(open_names)}"))
    plan.notes.append(
        Note(
            "registry.tls",
            f"beyond loopback the registry wants TLS — make its Secret first: openssl req -x509 -newkey rsa:2048 -nodes"
            f" -days 365 -subj /CN={plan.registry} -addext subjectAltName=DNS:{plan.registry} -out tls.crt -keyout tls.key"
            f" && kubectl create secret tls {TLS_SECRET} --cert=tls.crt --key=tls.key",
        )
    )
    if plan.redis:
        plan.notes.append(Note(plan.redis, f"storage: {STORAGE} is a guess — set what it needs"))
        trees += _redis(plan)
    return [Document(FILE, tree) for tree in [*trees, *_registry(plan)]]


def _redis(plan: ExportPlan) -> list[Tree]:
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
    name = plan.registry
    config, secret = shared_names(plan)
    arguments = ["registry", "--listen", f"0.0.0.0:{REGISTRY_PORT}"]
    arguments += ["--tls-cert", f"{CERTS}/tls.crt", "--tls-key", f"{CERTS}/tls.key"]
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
        "volumeMounts": [{"name": "registry-tls", "mountPath": CERTS, "readOnly": True}],
    }
    template = _pod(
        plan, name, container, [{"name": "registry-tls", "secret": {"secretName": TLS_SECRET, "defaultMode": 0o440}}]
    )
    template["spec"]["securityContext"] |= {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER}
    body = {"replicas": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}, "template": template}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(plan, name), "spec": body},
        _service(plan, name, "rpc", REGISTRY_PORT),
    ]


def _pod(plan: ExportPlan, name: str, container: Tree, volumes: list[Tree]) -> Tree:
    spec: Tree = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if volumes:
        spec["volumes"] = volumes
    return {"metadata": {"labels": metadata(plan, name)["labels"]}, "spec": spec}


def _service(plan: ExportPlan, name: str, port: str, number: int) -> Tree:
    spec = {"selector": {"app.kubernetes.io/name": name}, "ports": [{"name": port, "port": number, "targetPort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(plan, name), "spec": spec}
