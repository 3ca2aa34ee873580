"""Creates, changes and removes instances as the manifest, users and schedules request.

    reconciler          the services of the manifest: creates, adjusts, resizes, stops and removes their instances
    replicas            the controllers of all instances, by service, name and id; their status for dependents
    runtimes            the process and the container runtime, and which one a service has
    host_services       the services that listen on this machine's network, and where: containers reach them by name (pure)
    process_record      writes the pids of running processes to a file, for the next `up` to find after a crash
    registry_events     writes the registry's entries into the state store
    dependency_order    calls a function for services in the order of their dependencies
    exit_policy         whether the end of an instance ends the whole project, and the exit code of `up`
    exit_watch          waits for such an end
    actions             users' requests by name: start, stop, restart, kill, scale, maintenance
    commands            the control API's commands: the actions, apply, shutdown, and queries
    errors              the errors of a roll-out and of a stop
    apply/              an edited manifest: plan the changes, and make them
    rollout/            restarts of one instance, and of the replicas of a service one after another
    schedule/           when scheduled services run, and their starts
    watch/              restarts a service when its sources are saved; applies the manifest when it is saved

The folder refuses to start and stop processes (`instance` does) and to serve HTTP (`control` does). Services stop before
their dependencies.
"""
