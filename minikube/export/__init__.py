"""A manifest for those who outgrow one machine (floor 2, pure): files for Compose and for Kubernetes.

    plan         what both have in common: images, addresses, environments, secrets, and what is not carried over
    compose      plan → a Compose file
    probes       a health check as Kubernetes' probes
    kubernetes   plan → Deployments, Jobs, CronJobs, Services, ConfigMaps, Secrets
    cluster      the registry and Redis in Kubernetes
    documents    trees → YAML, with the notes on top

It reads and writes no file, and starts nothing. Values that look secret are placeholders unless they are asked for. What
has no counterpart is a note, never silence.
"""

from minikube.export.compose import compose_documents
from minikube.export.documents import Document, as_text
from minikube.export.kubernetes import kubernetes_documents
from minikube.export.plan import Choices, ExportPlan, Note, make_plan

__all__ = [
    "Choices",
    "Document",
    "ExportPlan",
    "Note",
    "as_text",
    "compose_documents",
    "kubernetes_documents",
    "make_plan",
]
