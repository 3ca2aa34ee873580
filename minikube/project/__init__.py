"""One project: the services of a manifest and the directory beside it. Shared by the supervisor and the commands.

    environment        the variables that processes of a service get; addresses of registry and Redis
    dependency_graph   the order in which services start and stop
    service_diff       what differs between the services of two manifests
    selection          the services that `up` starts: profiles, and services by name
    ids                the ids of instances
    registry_tokens    the tokens for the registry that are derived from the project's secret
    orphans            find and kill processes that an earlier run left
    watch_patterns     which files are the sources of a service: its `watch` patterns and `.gitignore`

The folder refuses to start services, and imports no trio.
"""
