"""Whether a running instance is ready: its check, as the supervisor probes it and as the registry sees it.

    readiness      one running instance: combines its own probes with the registry's entry, tells its controller
    checks         the supervisor's probes of one instance: HTTP, TCP, command, log line
    thresholds     what a row of probe results adds up to: passing, critical, hung
    check_state    merges the states of both observers; words the reason why an instance is not ready
    registration   what is registered for an instance, and which of its checks only the supervisor can make
    registry_sync  keeps the registry's entries of the project's instances as they should be; follows the registry
    reservations   which names the manifest reserves in the registry, for which users and instances
    start_time     tells an entry of the running process from one of an earlier process

Nothing here starts, stops or restarts an instance: the callbacks that `instance` passes in do.
"""
