"""Checks the output of `--json` against the JSON Schema that the command prints for it."""

import json
from typing import Any

import jsonschema

from minikube.cli.render.schemas import OUTPUTS, output_schema


def conforming(command: str, out: str, *, live: bool = False) -> Any:
    """Return the value that a command printed (a list of values, where it prints lines). Fails when it breaks the schema.

    `live`: the command was called with its option that prints a line for each change.
    """
    output = OUTPUTS[command]
    schema = output_schema(command)
    if output.kind == "lines" or live:
        values = [json.loads(line) for line in out.splitlines()]
        whole = (
            schema if output.kind == "list" else {"type": "array", "items": schema, "$defs": schema.get("$defs", {})}
        )
        jsonschema.validate(values, whole)
        return values
    value = json.loads(out)
    jsonschema.validate(value, schema)
    return value
