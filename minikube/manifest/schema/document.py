"""The whole JSON Schema, made of the shapes of `parser`: with descriptions, and with definitions for what stands in it twice."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from minikube.manifest.json_schema import Schema, only_one_of
from minikube.manifest.layers.merge import COMMAND_KEYS
from minikube.manifest.parser import MANIFEST
from minikube.manifest.schema.descriptions import DOCS, find_defaults

SCHEMA_URL = "https://json.schemastore.org/minikube-supervisor.json"
SERVICE = "service"
_BRANCHES = ("then", "else")


def manifest_schema() -> Schema:
    """Return the JSON Schema of a manifest, in draft 7, which editors support."""
    whole = copy.deepcopy(MANIFEST.schema())
    definitions: dict[str, Schema] = {}
    services = whole["properties"]["services"]
    service, services["additionalProperties"] = services["additionalProperties"], _reference(SERVICE)
    defaults = whole["properties"]["defaults"]
    for name in defaults["properties"]:
        defaults["properties"][name] = {"$ref": f"#/definitions/{SERVICE}/properties/{name}"}
    # A check without its kind is one in the schema, too: an override may have it.
    _describe(service, SERVICE, find_defaults())
    _describe(whole, "", find_defaults())
    _define(service, SERVICE, definitions)
    _define(whole, "", definitions)
    service |= only_one_of(COMMAND_KEYS)
    definitions[SERVICE] = {"description": DOCS["services.*"].text, **service}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": SCHEMA_URL,
        "title": "Mini Kube Discovery: supervisor.toml",
        "description": "The services of a project, and how minikube runs, registers and watches them",
        **whole,
        "definitions": dict(sorted(definitions.items())),
    }


def schema_json() -> str:
    """Return the JSON Schema of a manifest as text, for editors."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _describe(schema: Schema, path: str, defaults: dict[str, Any]) -> None:
    """Add the descriptions, defaults and examples of the keys in a schema, whose own path is `path`."""
    for key, value in _properties(schema, path):
        if doc := DOCS.get(key):
            described: Schema = {"description": doc.text}
            if key in defaults:
                described["default"] = defaults[key]
            if doc.example is not None:
                described["examples"] = [doc.example]
            if "$ref" not in value:
                content = dict(value)
                value.clear()
                value.update(described | content)
        _describe(value, key, defaults)


def _properties(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield the keys of the tables in a schema with their paths, of all its alternatives, but none that are deeper."""
    for name, value in schema.get("properties", {}).items():
        yield f"{path}.{name}" if path else name, value
    if isinstance(each := schema.get("additionalProperties"), dict) and path:
        yield f"{path}.*", each
    # The branches of a table only refuse one key beside another.
    for branch in () if schema.get("type") == "object" else (*_BRANCHES, "items"):
        if isinstance(inner := schema.get(branch), dict):
            yield from _properties(inner, path)


def _define(schema: Schema, path: str, definitions: dict[str, Schema]) -> None:
    """Move the tables that a value may be into `definitions`, and offer all that it may be for completion.

    Editors do not complete what stands in `then`; the last, empty alternative refuses nothing.
    """
    for key, value in _properties(schema, path):
        _define(value, key, definitions)
        if "if" not in value or "anyOf" in value:
            continue
        offered = []
        for holder, branch in _branches(value):
            inner = holder[branch]
            if inner.get("type") == "object" and "properties" in inner:
                name = key.removeprefix(f"{SERVICE}.").replace(".*", "").replace(".", "_")
                definitions[name], inner = inner, _reference(name)
                holder[branch] = inner
            if "const" not in inner:
                offered.append(inner)
        if len(offered) > 1:
            value["anyOf"] = [*copy.deepcopy(offered), {}]


def _branches(schema: Schema) -> Iterator[tuple[Schema, str]]:
    """Yield each alternative of a schema that chooses by type, as the schema and the key that hold it."""
    for branch in _BRANCHES:
        if branch in schema:
            if "if" in schema[branch] and "type" not in schema[branch]:
                yield from _branches(schema[branch])
            else:
                yield schema, branch
