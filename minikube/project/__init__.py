"""One project: the services of a manifest and the directory beside it. Shared by the supervisor and the commands.

    environment        the variables that processes of a service get; addresses of registry and Redis
    dependency_graph   the order in which services start and stop
    instance_ports     the ports of an instance, and the choice of free ones
    service_diff       what differs between the services of two manifests
    selection/         the services that `up` starts, and those that `@group` and `@tag:x` stand for
    ids                the ids of instances
    registry_tokens    the tokens for the registry that are derived from the project's secret
    run_lookup         which supervisor runs a project directory
    run_claim          the right to run a project directory, which one supervisor has at a time
    run_name           the name in the kernel by which both find each other
    redis_socket       the place of the embedded Redis' socket, and its removal
    machine_check      which users, directories and files of a manifest this machine does not have
    orphans            find and kill processes that an earlier run left
    watch_patterns     which files are the sources of a service: its `watch` patterns and `.gitignore`

The folder refuses to start services, and imports no trio.
"""
