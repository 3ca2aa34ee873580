"""Exports, validated with the published schemas that the tools' own validators use."""

import functools
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from minikube.export import ExportOptions, ExportPlan, compose_documents, kubernetes_documents, plan_export, to_yaml
from minikube.manifest import Manifest

Tree = dict[str, Any]

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
QUALIFIED = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LABEL = re.compile(r"|[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
DATA_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
CRON = re.compile(r"\S+ \S+ \S+ \S+ \S+")

# The original reads a megabyte of definitions for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


@functools.cache
def compose_validator() -> jsonschema.Draft7Validator:
    """Return a validator for the Compose specification's schema, which the `check-jsonschema` package contains."""
    vendor = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    schema = json.loads(vendor.read_text())
    validator: jsonschema.Draft7Validator = jsonschema.validators.validator_for(schema)(schema)
    return validator


def compose(manifest: Manifest, options: ExportOptions | None = None) -> tuple[Tree, ExportPlan]:
    """Return the Compose file, parsed from its text and validated, and the plan with its notes."""
    plan = plan_export(manifest, options or ExportOptions())
    text = to_yaml(compose_documents(plan), plan.notes, "Made by minikube")
    tree: Tree = yaml.safe_load(text)
    compose_validator().validate(tree)
    return tree, plan


def kubernetes(
    manifest: Manifest, options: ExportOptions | None = None
) -> tuple[dict[tuple[str, str], Tree], ExportPlan]:
    """Return the Kubernetes objects by kind and name, parsed from their text and validated, and the plan with its notes."""
    plan = plan_export(manifest, options or ExportOptions())
    text = to_yaml(kubernetes_documents(plan), plan.notes, "Made by minikube")
    found: dict[tuple[str, str], Tree] = {}
    for tree in yaml.safe_load_all(text):
        kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)
        check_names(tree)
        key = (tree["kind"], tree["metadata"]["name"])
        assert key not in found
        found[key] = tree
    return found, plan


def check_names(tree: Tree) -> None:
    """Check what the API server requires beyond its schema: names, labels, unique mounts."""
    kind, name = tree["kind"], tree["metadata"]["name"]
    assert (SERVICE_NAME if kind == "Service" else SUBDOMAIN).fullmatch(name), name
    assert all(DATA_KEY.fullmatch(key) for key in (*tree.get("data", ()), *tree.get("stringData", ())))
    if kind == "CronJob":
        assert CRON.fullmatch(tree["spec"]["schedule"])
    for part in parts(tree):
        for key, value in part.get("labels", {}).items():
            assert QUALIFIED.fullmatch(key), key
            assert LABEL.fullmatch(value), value
        assert all(QUALIFIED.fullmatch(key) for key in part.get("annotations", ()))
        names = [one["name"] for key in ("containers", "initContainers", "volumes") for one in part.get(key, ())]
        assert all(NAME.fullmatch(one) for one in names), names
        assert len(set(names)) == len(names) or "containers" not in part
        claims = [
            one["persistentVolumeClaim"]["claimName"]
            for one in part.get("volumes", ())
            if len(one) > 1 and "persistentVolumeClaim" in one
        ]
        assert all(SUBDOMAIN.fullmatch(one) for one in claims), claims
        paths = [one["mountPath"] for one in part.get("volumeMounts", ())]
        assert len(set(paths)) == len(paths), paths


def parts(tree: Any) -> Iterator[Tree]:
    """Return every mapping inside a document."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from parts(value)
