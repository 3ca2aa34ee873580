"""Whether a running instance is ready: its check, as the supervisor probes it and as the registry sees it.

    readiness      one running instance: combines its probes with the registry's entry, and calls its controller
    checks         the supervisor's probes of one instance: HTTP, TCP, command, log line
    thresholds     the state that follows from several probe results: passing, critical, hung
    check_state    merges the supervisor's and the registry's state; gives the reason why an instance is not ready
    registration   the registration and the check of an instance, and whether only the supervisor can make the check
    registry_sync  keeps the registry's entries of the project's instances up to date, and receives all entries
    registry_monitor  whether the registry works: its status as events, and as `RegistryHealth`
    reservations   which names the manifest reserves in the registry, for which users and instances
    start_time     distinguishes an entry of the running process from one of an earlier process

Nothing here starts, stops or restarts an instance: the callbacks that `instance` passes in do. A *reported* check is made by
the supervisor, which sends each result to the registry (`ttl:`); the registry drops a result when its lease runs out.
"""
