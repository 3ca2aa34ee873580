"""A web server that takes orders, a worker that carries them out, and the database with the queue between them.

The database is Redis: minikube's own Python has a client for it, so that the project runs without installing anything. It is a
container where there is an engine, else the `redis-server` or `valkey-server` of the PATH.
"""

import shutil

from minikube.cli.templates.template import Template

_MANIFEST = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

[services.db]
DATABASE
[services.web]
command = ["${MINIKUBE_PYTHON}", "-u", "web.py"]   # the Python of minikube, which has its SDK and a client of Redis
port = "auto"                  # a free port; or write a number
health = "/"
depends_on = { db = "healthy" }

[services.worker]
command = ["${MINIKUBE_PYTHON}", "-u", "worker.py"]
replicas = 2
depends_on = { db = "healthy" }
"""

_CONTAINER = """\
image = "redis:7"              # for another database: its image, container_port and volume
port = "auto"                  # published on 127.0.0.1; others ask the registry for it
container_port = 6379
volumes = ["db:/data"]
health = "tcp"
"""

_PROGRAM = """\
command = ["PROGRAM", "--port", "${PORT}", "--bind", "${HOST}", "--dir", "data"]
# In a container instead: image = "redis:7", container_port = 6379, volumes = ["db:/data"], and no command.
port = "auto"                  # a free port; others ask the registry for it
health = "tcp"
"""

WEB = '''\
"""POST / puts an order into the queue; GET / tells how many wait and how many are done."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

from minikube import blocking


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with connect() as db:
            self.answer({"waiting": db.llen("orders"), "done": int(db.get("done") or 0)})

    def do_POST(self) -> None:
        with connect() as db:
            self.answer({"order": db.rpush("orders", "one more")})

    def answer(self, body: dict[str, int]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def connect() -> redis.Redis:
    """Connect to the database at the address that the registry has."""
    with blocking.open_registry() as registry:
        address = registry.get("db")
    return redis.Redis.from_url(f"redis://{address}", decode_responses=True)


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
'''

WORKER = '''\
"""Carries out one order after the other."""

import os

import redis

from minikube import blocking

with blocking.open_registry() as registry:
    address = registry.get("db")
db = redis.Redis.from_url(f"redis://{address}", decode_responses=True)
while True:
    if db.blpop(["orders"], timeout=5):
        print(f"{os.environ['INSTANCE_ID']}: order {db.incr('done')} is done")
'''


def make(name: str) -> Template:
    """Return the template, with the database as this machine can run it."""
    program = next(filter(shutil.which, ("redis-server", "valkey-server")), "")
    engine = any(map(shutil.which, ("docker", "podman", "nerdctl")))
    in_container = engine or not program
    database = _CONTAINER if in_container else _PROGRAM.replace("PROGRAM", program)
    files = {"web.py": WEB, "worker.py": WORKER, ".gitignore": "/.minikube/\n/data/\n"}
    if not in_container:
        files["data/.gitkeep"] = ""
    return Template(
        summary="a web server, workers and a database: in a container, or without an engine from the PATH",
        manifest=_MANIFEST.replace("DATABASE\n", f"{database}\n"),
        files=files,
        marker="web.py",
        note=""
        if engine or program
        else "Docker, Podman, nerdctl, redis-server or valkey-server has to be on the PATH",
    )
