"""Go programs of tests, all built alike: what one build compiles of the standard library, the next finds in the cache."""

import os
import subprocess
from pathlib import Path


def build(go: str, source: Path, program: Path, what: str = ".") -> None:
    """`what` (a package, a file) in `source`, with the standard library alone, becomes `program`."""
    settings = {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOPROXY": "off", "CGO_ENABLED": "0"}
    if "HOME" not in os.environ:
        settings["GOCACHE"] = str(program.parent / "cache")
    command = [go, "build", "-o", str(program), what]
    subprocess.run(command, cwd=source, env={**os.environ, **settings}, check=True, timeout=170)
