"""`init`: a first manifest with two services that run, for a new project."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from minikube.defaults import DEFAULT_FILE
from minikube.errors import UsageError
from minikube.project_dir import PROJECT_DIR

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

GIT_IGNORE = ".gitignore"

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
@click.option(
    "-t", "--template", metavar="NAME", default="", help="Write this project instead of the two small services."
)
@click.option("--list", "listing", is_flag=True, help="Print the names of the templates.")
def init_command(directory: str, template: str, listing: bool) -> None:
    """Write a first manifest with two small services into DIRECTORY, by default the working directory.

    With --template it is one for Django, FastAPI, Node, Go, or a web server with workers and a database. Where the directory has
    no such project yet, the few files that make it run are written, too. An existing file is never overwritten.
    """
    from minikube.manifest.load import default_name

    if listing:
        _print_templates()
        return
    target = Path(directory)
    name = default_name(target.absolute())
    manifest = target / DEFAULT_FILE
    note = ""
    if template:
        files, note = _files_of_template(template, target, name)
    else:
        files = {manifest: FIRST_MANIFEST.format(name=name), target / CLOCK_FILE: CLOCK, target / PAGE_FILE: PAGE}
        if not (target / GIT_IGNORE).exists():
            files[target / GIT_IGNORE] = f"/{PROJECT_DIR}/\n"
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already — nothing was written; move it away or use another directory")
    _write_all(files)
    from minikube.manifest import load_manifest

    load_manifest(manifest)
    argument = "" if target == Path() else f" {manifest}"
    click.echo(f"wrote {', '.join(map(str, files))} — start them with: minikube up{argument}")
    if note:
        click.echo(note)


def _print_templates() -> None:
    from minikube.cli.templates.catalog import NAMES, load_template

    for name in NAMES:
        click.echo(f"{name:15} {load_template(name).summary}")


def _files_of_template(name: str, target: Path, project: str) -> tuple[dict[Path, str], str]:
    """Return the files that a template writes into a directory, and a note for the user; "" for none.

    A file beside those of the project, such as `.gitignore`, is left out where there is one.
    """
    from minikube.cli.templates.catalog import NAMES, load_template
    from minikube.cli.templates.template import filled
    from minikube.manifest.diagnostics import did_you_mean

    if name not in NAMES:
        raise UsageError(
            f"--template {name}: no such template{did_you_mean(name, NAMES)} — there are {', '.join(NAMES)}"
        )
    template = load_template(name)
    manifest = target / DEFAULT_FILE
    if (target / template.marker).exists():
        text = template.own_manifest or template.manifest
        note = f"{template.marker} is there already, so that no other file was written: look whether the commands are right"
        return {manifest: filled(text, project)}, note
    files = {manifest: filled(template.manifest, project)}
    for path, text in template.files.items():
        if path != GIT_IGNORE or not (target / path).exists():
            files[target / path] = filled(text, project)
    return files, template.note


def _write_all(files: dict[Path, str]) -> None:
    """Write new files with the given texts, and the directories that they need; remove all of them where one fails."""
    made: list[Path] = []
    try:
        for path, text in files.items():
            missing = [parent for parent in path.parents if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            made.extend(reversed(missing))
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except Exception:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise
