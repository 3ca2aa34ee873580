"""Commands that talk to a running project or to a registry; a file for each, or for a family that shares its code.

    up           start a project: dashboard, log lines, or in the background
    down         stop a project
    apply        request that the supervisor reads its manifest again
    ps           `ps` and `status`
    logs, events, describe, dashboard, wait
    start_stop   `start`, `stop`, `restart`, `kill`, `scale`, `maintenance`
    run          `run`, `exec`, `shell`: a command with the environment of a service
    discovery    `get`, `instances`, `register`, `deregister`: requests to a registry
    registry     run a registry without a project

They refuse to decide anything about services: each is a request or two to the supervisor or the registry. Each imports
what it needs when it is called, so that a command costs only its own imports.
"""
