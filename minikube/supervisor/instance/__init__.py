"""One instance of a service, from its first start to its removal.

    controller       the task of one instance: waits for dependencies, starts, watches, stops and restarts its process
    desired_state    the desired state of the instance: running, stopped, restarted, removed
    lifecycle        the actual state: the next state after each event, and the time of the next start
    start_errors     the next state after a failed start: another try, or `fatal`
    termination      stops a running process: stop command, signal, time-out, KILL
    dependencies     whether the dependencies of a service are met, and if not, the reason
    status           the instance's row in the state store
    collaborators    the functions and objects that a controller gets from the supervisor

`desired_state`, `lifecycle`, `start_errors`, `dependencies` and `status` are pure. The folder refuses to start processes and
containers itself (`runtime` does), and to decide which instances exist (`reconcile` does).
"""
