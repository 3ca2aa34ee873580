"""A server of Go, built before it starts, and again when a source changes."""

from minikube.cli.templates.template import Template

MANIFEST = """\
# What `minikube up` starts. All keys: `minikube schema`. Check this file: `minikube validate`.
name = "{name}"

[services.web]
shell = "go build -o bin/web . && exec bin/web"   # exec: signals reach the program, not the shell
port = "auto"                  # a free port, which the program gets as PORT; or write a number
health = "/health"
watch = ["*.go", "go.mod"]     # built and restarted when one of these files changes
"""

MAIN = """\
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(reply http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(reply, "Hello from %s: %s %s\\n", os.Getenv("SERVICE_NAME"), request.Method, request.URL.Path)
	})
	http.HandleFunc("/health", func(reply http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(reply, "ok")
	})
	address := net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT"))
	log.Printf("listening on %s", address)
	log.Fatal(http.ListenAndServe(address, nil))
}
"""

MODULE = """\
module example.com/{name}

go 1.19
"""


def make(name: str) -> Template:
    """Return the template."""
    return Template(
        summary="a server of Go",
        manifest=MANIFEST,
        files={"go.mod": MODULE, "main.go": MAIN, ".gitignore": "/bin/\n/.minikube/\n"},
        marker="go.mod",
        note="Go has to be on the PATH",
    )
