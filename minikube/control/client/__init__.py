"""Clients of the control API. They import neither the API nor the supervisor.

    endpoint   finds a project's supervisor and its token in `.minikube/`
    blocking   the client of the command line
    watchdog   ends a long wait of that client where the supervisor does not answer any more
    trio       the client of the dashboard: stream, logs, commands
    snapshot   builds the project's state from the stream's updates
    names      `@group` and `@tag:x` in the names of a command
    messages   replies of the API that are not in `model`, and HTTP statuses for errors

It refuses to reconnect and to repeat a command: the caller knows whether that is safe.
"""
