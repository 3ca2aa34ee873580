"""The supervisor as a process: how `up` starts it, its guardian, its trio run, and how everything ends.

    guardian       the supervisor's parent process; kills all remaining processes when the supervisor is dead
    ipc            the messages between `up`, the guardian and the supervisor
    launcher       the supervisor's process before trio: claims the project, starts Redis and the registry
    port_reservation   ports of the registry and the control API, among supervisors that start at the same time
    launch_plan    what the launcher has prepared for the trio run
    run            the supervisor's trio run: starts everything, waits for a stop, stops everything
    shutdown       the requests to stop: signals, `up`, the guardian's death
    project_files  record, token and lock in `.minikube`, made again when they are removed
    run_server     answers of the supervisor to commands that look for it
    token_file     the project's secret in `.minikube/token`
    log            the supervisor's own log, and its levels

The folder refuses to decide anything about services: `supervisor.reconcile` does.

To see what the supervisor does, read `.minikube/logs/minikube.supervisor.log`. Each line has a time, a level, the module that
wrote it and a message; errors come with a traceback. `MINIKUBE_DEBUG=1 minikube up` adds lines of level DEBUG: each start, exit,
signal, applied manifest and connection to the registry.
"""
