"""All templates by name; each is imported when it is asked for."""

import importlib

from minikube.cli.templates.template import Template

MODULES = {
    "web-worker-db": "web_worker_db",
    "django": "python_web",
    "fastapi": "python_web",
    "node": "node",
    "go": "go",
}
"""By template its module, whose `make(name)` returns it."""

NAMES = tuple(MODULES)


def load_template(name: str) -> Template:
    """Return the template of this name. Raises KeyError where there is none."""
    module = importlib.import_module(f"minikube.cli.templates.{MODULES[name]}")
    template = module.make(name)
    assert isinstance(template, Template)
    return template
