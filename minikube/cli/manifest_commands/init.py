"""`init`: a first manifest with two services that run, for a new project."""

from __future__ import annotations

from pathlib import Path

import click

from minikube.defaults import DEFAULT_FILE
from minikube.errors import UsageError

FIRST_MANIFEST = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

[services.web]
command = "${{MINIKUBE_PYTHON}} -m http.server ${{PORT}} --bind ${{HOST}}"
port = "auto"                          # a free port; or write a number
health = "/"
replicas = 2

[services.clock]
command = ["${{MINIKUBE_PYTHON}}", "-u", "clock.py"]   # the Python of minikube, which has its SDK
depends_on = ["web"]                   # is started when a replica of web passes its check
"""

CLOCK_FILE = "clock.py"
CLOCK = '''\
"""Every two seconds, asks the registry for the address of `web` and fetches a page from there."""

import time
import urllib.request

from minikube import MinikubeError, blocking

with blocking.open_registry() as registry:
    while True:
        try:
            address = registry.get("web")
            with urllib.request.urlopen(f"http://{address}/", timeout=2) as page:
                print(f"web at {address} answers {page.status}")
        except (MinikubeError, OSError) as error:
            print(f"web does not answer: {error}")
        time.sleep(2)
'''


@click.command()
@click.argument("directory", required=False, default=".", type=click.Path())
def init_command(directory: str) -> None:
    """Write a first manifest with two small services into DIRECTORY, by default the working directory."""
    from minikube.manifest import load_manifest
    from minikube.manifest.load import default_name

    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    manifest, clock = target / DEFAULT_FILE, target / CLOCK_FILE
    for path in (manifest, clock):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already — nothing was written; move it away or use another directory")
    written: list[Path] = []
    try:
        for path, text in ((manifest, FIRST_MANIFEST.format(name=default_name(target.absolute()))), (clock, CLOCK)):
            with path.open("x") as file:
                written.append(path)
                file.write(text)
    except Exception:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    load_manifest(manifest)
    argument = "" if target == Path() else f" {manifest}"
    click.echo(f"wrote {manifest} and {clock} — start them with: minikube up{argument}")
