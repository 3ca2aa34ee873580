"""Export of a manifest as files for Docker Compose or Kubernetes.

    workloads           what both exports need: images, addresses, environments, secrets, and notes on what is lost
    compose             the Compose file
    compose_health      a health check as Compose's `healthcheck`
    kubernetes          Deployments, Jobs, CronJobs, Services, ConfigMaps and Secrets of the services
    kubernetes_probes   a health check as Kubernetes' probes
    kubernetes_shared   the registry, Redis and the shared configuration in Kubernetes
    yaml_documents      documents as YAML text

It refuses to read or write files and to start anything: it returns text. Secrets are placeholders unless their values are
requested. For each key that has no counterpart there is a note, so that nothing is lost silently.
"""

from minikube.export.compose import compose_documents
from minikube.export.kubernetes import kubernetes_documents
from minikube.export.workloads import ExportOptions, ExportPlan, Note, plan_export
from minikube.export.yaml_documents import Document, to_yaml

__all__ = [
    "Document",
    "ExportOptions",
    "ExportPlan",
    "Note",
    "compose_documents",
    "kubernetes_documents",
    "plan_export",
    "to_yaml",
]
