"""The dashboard's connection to the supervisor.

    interface         `SupervisorConnection`: what the app calls
    messages          what a connection posts to the app: snapshots, log lines, results of commands
    trio_connection   the implementation: a thread that runs trio with the control API's client

It refuses to interpret what it transports, and to give up: after a lost connection it reconnects until it is stopped.
"""
