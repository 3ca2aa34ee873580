"""One instance of a service, from its first start to its removal.

    controller       the task of one instance: waits for dependencies, starts, watches, stops and restarts its process
    desired_state    what is wanted of the instance: running, stopped, restarted, removed
    lifecycle        what its process did and when → the next state and the time of the next start
    start_errors     what follows from a failed start: another try, or `fatal`
    termination      how a running process is stopped: stop command, signal, time-out, KILL
    dependencies     whether what a service depends on is there, and if not, why
    status           the instance's row in the state store
    collaborators    what a controller is given by the supervisor

`desired_state`, `lifecycle`, `start_errors`, `dependencies` and `status` are pure. Nothing here knows what a process or a
container is (`runtime` does), and nothing decides which instances there are (`reconcile` does).
"""
