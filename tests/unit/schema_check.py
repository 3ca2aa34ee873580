"""As much of JSON Schema (draft 7) as the manifest's schema uses; a keyword it does not know is an error."""

import re
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
}
NOTES = {"$schema", "title", "description"}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Whether `value` is valid under `schema`."""
    return all(_keyword(name, wanted, schema, value) for name, wanted in schema.items() if name not in NOTES)


def _keyword(name: str, wanted: Any, schema: dict[str, Any], value: Any) -> bool:
    match name:
        case "type":
            return isinstance(value, TYPES[wanted]) and not isinstance(value, bool)
        case "enum":
            return value in wanted
        case "const":
            return value is wanted
        case "anyOf":
            return any(accepts(one, value) for one in wanted)
        case "oneOf":
            return sum(accepts(one, value) for one in wanted) == 1
        case "pattern":
            return not isinstance(value, str) or re.search(wanted, value) is not None
        case "minimum":
            return not isinstance(value, int | float) or value >= wanted
        case "maximum":
            return not isinstance(value, int | float) or value <= wanted
        case "items":
            return not isinstance(value, list) or all(accepts(wanted, item) for item in value)
        case "minItems":
            return not isinstance(value, list) or len(value) >= wanted
        case "required":
            return not isinstance(value, dict) or all(key in value for key in wanted)
        case "properties":
            return not isinstance(value, dict) or all(
                accepts(wanted[key], value[key]) for key in wanted if key in value
            )
        case "propertyNames":
            return not isinstance(value, dict) or all(accepts(wanted, key) for key in value)
        case "additionalProperties":
            if not isinstance(value, dict):
                return True
            rest = [item for key, item in value.items() if key not in schema.get("properties", {})]
            return not rest if wanted is False else all(accepts(wanted, item) for item in rest)
        case _:
            raise AssertionError(f"the schema uses {name}, which this check does not know")
