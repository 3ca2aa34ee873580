"""Makes the running instances what the manifest, the users and the schedules ask for.

    reconciler          the services of the manifest: creates, adjusts, resizes, stops and removes their instances
    replicas            the controllers of all instances, by service, name and id; whether dependencies are met
    runtimes            selects what runs a service: processes or containers
    process_record      writes down which processes run, for the next `up` to find after a crash
    registry_events     puts the registry's entries of instances into the state store
    dependency_order    acts on services in the order of their dependencies
    actions             what users ask for by name: start, stop, restart, kill, scale, maintenance
    commands            the control API's commands: the actions, apply, shutdown, and what is read
    errors              what a roll-out or a stop fails with
    apply/              an edited manifest: what differs, and how it is carried out
    rollout/            restarts of one instance, and of the replicas of a service one after another
    schedule/           when scheduled services run, and their starts
    watch/              restarts a service when its sources are saved; applies the manifest when it is saved

How one instance is started and stopped is `instance`'s; HTTP is `control`'s. Services stop before what they depend on.
"""
