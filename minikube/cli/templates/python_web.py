"""Django and FastAPI: the packages of requirements.txt in `.venv`, which a service installs before the server starts."""

from minikube.cli.templates.template import Template

_HEAD = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

# Installs the packages of requirements.txt into .venv, where they are not there yet. Remove it where you do that yourself.
[services.install]
shell = '''
[ -x .venv/bin/python ] || python3 -m venv .venv
[ ! -f requirements.txt ] || [ requirements.txt -ot .venv/installed ] || .venv/bin/pip install --quiet -r requirements.txt
touch .venv/installed
'''
restart = "never"
"""

DJANGO_MANIFEST = (
    _HEAD
    + """
[services.migrate]
command = [".venv/bin/python", "manage.py", "migrate"]
restart = "never"
depends_on = { install = "completed" }

[services.web]
command = [".venv/bin/python", "manage.py", "runserver", "--noreload", "${HOST}:${PORT}"]
port = "auto"                  # a free port; or write a number
health = "tcp"                 # or a path, such as "/health"
env = { PYTHONUNBUFFERED = "1" }
watch = ["**/*.py"]            # restarted when one of these files changes
depends_on = { migrate = "completed" }
"""
)

MANAGE = """\
import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    execute_from_command_line(sys.argv)
"""

SETTINGS = """\
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = True
SECRET_KEY = os.environ.get("SECRET_KEY", "for development only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

URLS = """\
from django.contrib.auth import get_user_model
from django.http import HttpRequest, JsonResponse
from django.urls import path


def index(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"hello": "from Django", "users": get_user_model().objects.count()})


urlpatterns = [path("", index)]
"""

FASTAPI_MANIFEST = (
    _HEAD
    + """
[services.web]
command = [".venv/bin/python", "-m", "uvicorn", "main:app", "--host", "${HOST}", "--port", "${PORT}"]
port = "auto"                  # a free port; or write a number
health = "tcp"                 # or a path, such as "/health"
watch = ["**/*.py"]            # restarted when one of these files changes
depends_on = { install = "completed" }
"""
)

MAIN = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def index() -> dict[str, str]:
    return {"hello": "from FastAPI"}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}
"""

IGNORED = "/.venv/\n/.minikube/\n__pycache__/\n"
NOTE = "python3 with venv has to be on the PATH, and the package index be reached"


def make(name: str) -> Template:
    """Return the template `django` or `fastapi`."""
    if name == "django":
        files = {
            "manage.py": MANAGE,
            "project/__init__.py": "",
            "project/settings.py": SETTINGS,
            "project/urls.py": URLS,
            "requirements.txt": "django\n",
            ".gitignore": f"{IGNORED}/db.sqlite3\n",
        }
        return Template("Django with a database of SQLite", DJANGO_MANIFEST, files, "manage.py", note=NOTE)
    files = {"main.py": MAIN, "requirements.txt": "fastapi\nuvicorn\n", ".gitignore": IGNORED}
    return Template("FastAPI with uvicorn", FASTAPI_MANIFEST, files, "main.py", note=NOTE)
