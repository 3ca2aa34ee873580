"""A server of Node without packages; in a directory with a package.json, what `npm start` runs there."""

from minikube.cli.templates.template import Template

MANIFEST = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

[services.web]
command = ["node", "server.js"]
port = "auto"                  # a free port, which the program gets as PORT; or write a number
health = "/"
env = { NODE_ENV = "development" }
watch = ["*.js"]               # restarted when one of these files changes
"""

OWN_MANIFEST = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

[services.install]
shell = "[ package.json -ot node_modules ] || npm install"
restart = "never"

[services.web]
command = ["npm", "start"]
port = "auto"                  # a free port, which the program gets as PORT; write the number where it has one of its own
env = { NODE_ENV = "development" }
depends_on = { install = "completed" }
"""

SERVER = """\
const http = require("node:http");

const server = http.createServer((request, reply) => {
  reply.setHeader("Content-Type", "text/plain; charset=utf-8");
  reply.end(`Hello from ${process.env.SERVICE_NAME}: ${request.method} ${request.url}\\n`);
});

server.listen(process.env.PORT, process.env.HOST, () => {
  console.log(`listening on ${process.env.HOST}:${process.env.PORT}`);
});

process.on("SIGTERM", () => server.close(() => process.exit(0)));
"""

PACKAGE = """\
{
  "name": "{name}",
  "private": true,
  "scripts": {
    "start": "node server.js"
  }
}
"""


def make(name: str) -> Template:
    """Return the template."""
    return Template(
        summary="a server of Node",
        manifest=MANIFEST,
        files={"package.json": PACKAGE, "server.js": SERVER, ".gitignore": "/node_modules/\n/.minikube/\n"},
        marker="package.json",
        own_manifest=OWN_MANIFEST,
        note="Node has to be on the PATH",
    )
