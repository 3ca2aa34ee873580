"""Exports of manifests that are generated from the manifest's schema are valid for Compose and Kubernetes."""

from typing import Any

from hypothesis import HealthCheck, assume, given, settings

from minikube.export import ExportOptions
from tests.unit.export.validated import compose, kubernetes
from tests.unit.manifest.cases import CONTAINERS, GOOD, manifest_with
from tests.unit.manifest.schema.test_property import SCHEMA, values
from tests.unit.manifest.test_parser import build

SOME = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@SOME
@given(values(SCHEMA))
def test_every_manifest_becomes_a_valid_compose_file(raw: dict[str, Any]) -> None:
    manifest, problems = build(raw)
    assume(not problems)
    tree, _ = compose(manifest)
    assert manifest.services.keys() <= tree["services"].keys()


@SOME
@given(values(SCHEMA))
def test_every_manifest_becomes_valid_kubernetes_objects(raw: dict[str, Any]) -> None:
    manifest, problems = build(raw)
    assume(not problems)
    profiles = frozenset(name for spec in manifest.services.values() for name in spec.profiles)
    objects, _ = kubernetes(manifest, ExportOptions(profiles=profiles))
    for name in manifest.services:
        assert {("Deployment", name), ("Job", name), ("CronJob", name)} & objects.keys()


def test_every_key_of_a_service_can_be_exported() -> None:
    """One service for each valid value in the tests of the manifest."""
    services: dict[str, Any] = {}
    for at, (path, value, _) in enumerate(GOOD):
        if path.startswith("."):
            service = manifest_with(path, value)["services"]["x"]
            service.pop("depends_on", None)
            services[f"x{at}"] = service | {"port": "auto"}
    services |= {f"c{at}": keys for at, (keys, _) in enumerate(CONTAINERS)}
    manifest, problems = build({"services": services})
    assert problems == []
    compose(manifest)
    kubernetes(
        manifest, ExportOptions(profiles=frozenset(name for one in manifest.services.values() for name in one.profiles))
    )
