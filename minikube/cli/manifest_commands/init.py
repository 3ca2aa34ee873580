"""`init`: a first manifest with two services that run, for a new project."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from minikube.defaults import DEFAULT_FILE
from minikube.errors import UsageError

FIRST_MANIFEST = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

[services.web]
# A directory of its own: a file server of this one would show .minikube/token and .env to every user of the machine.
command = "${{MINIKUBE_PYTHON}} -m http.server ${{PORT}} --bind ${{HOST}} --directory site"
port = "auto"                          # a free port; or write a number
health = "/"
replicas = 2

[services.clock]
command = ["${{MINIKUBE_PYTHON}}", "-u", "clock.py"]   # the Python of minikube, which has its SDK
depends_on = ["web"]                   # is started when a replica of web passes its check
"""

PAGE_FILE = "site/index.html"
PAGE = "<!doctype html><title>web</title><p>Served by <code>minikube up</code>.\n"

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
    manifest = target / DEFAULT_FILE
    text = FIRST_MANIFEST.format(name=default_name(target.absolute()))
    files = {manifest: text, target / CLOCK_FILE: CLOCK, target / PAGE_FILE: PAGE}
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already — nothing was written; move it away or use another directory")
    _write_all(files)
    load_manifest(manifest)
    argument = "" if target == Path() else f" {manifest}"
    click.echo(f"wrote {', '.join(map(str, files))} — start them with: minikube up{argument}")


def _write_all(files: dict[Path, str]) -> None:
    """Write new files with the given texts, and the directories that they need; remove all of them where one fails."""
    made: list[Path] = []
    try:
        for path, text in files.items():
            missing = [parent for parent in path.parents if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            made.extend(reversed(missing))
            with path.open("x") as file:
                made.append(path)
                file.write(text)
    except Exception:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise
