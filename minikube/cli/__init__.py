"""The command line (floor 4): words to requests, answers to lines.

    app          the group: names and help without importing anything, errors to one line, exit codes
    completing   what the shell may complete
    common       options, output and connections that commands share
    table, look  pure: rows to columns, stamps to ages, colours
    up, plain    starting and stopping a project in the foreground
    listing      ps, status
    rows, shapes pure: the board as text, and as JSON
    logs         logs, from the supervisor or from what was kept
    watching     events, describe, dashboard
    waiting      wait
    acting       start, stop, restart, scale, kill, maintenance, down
    apply        apply: the difference, and what was done
    discovery    registry, get, instances, register, deregister
    run          run, exec, shell: this process becomes a command with a service's environment
    config       config: the manifest as it is meant
    doctor       doctor: what this machine can do
    graph        graph: who depends on whom
    export       the manifest as files for Compose and Kubernetes
    project      init, validate, schema, completion, version

It decides nothing about services: every command is one request to the supervisor or the registry. Only `app` is
imported for `--help`; each command imports what it needs when it is called.
"""

TYPE_CHECKING = False  # typing's own is an import, and nothing may be interrupted before `main`
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> "NoReturn":
    """The entry point of the `minikube` command. An early Ctrl-C, in the midst of imports, is one like any other."""
    try:
        from minikube.cli import app

        app.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
