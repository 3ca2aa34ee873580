"""Whether what a command printed with `--json` is what it says it prints."""

import json
from typing import Any

import jsonschema

from minikube.cli.render.schemas import SHAPES, output_schema


def conforming(command: str, out: str, *, live: bool = False) -> Any:
    """The value (the list of them, where lines are printed), valid under the command's own schema."""
    shape = SHAPES[command]
    schema = output_schema(command)
    if shape.kind == "lines" or live:
        values = [json.loads(line) for line in out.splitlines()]
        whole = schema if shape.kind == "list" else {"type": "array", "items": schema, "$defs": schema.get("$defs", {})}
        jsonschema.validate(values, whole)
        return values
    value = json.loads(out)
    jsonschema.validate(value, schema)
    return value
