"""Small files under `.minikube/` (floor 3, standard library only): written whole or not at all."""

import json
import os
from pathlib import Path


def write_record(path: Path, value: object) -> None:
    """As JSON, in place of what was there. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value))
    os.replace(fresh, path)
