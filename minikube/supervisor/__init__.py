"""The supervisor: runs the services of a manifest for as long as `minikube up` lasts, and leaves no process behind.

    up ─► daemon        guardian (the parent, which inherits orphans), launcher, the trio run, shutdown
            ├─► backing         Redis and the registry, which the services need
            └─► reconcile       the services of the manifest; apply, roll-outs, schedules, watched files, commands
                  └─► instance        one instance: desired state, lifecycle, start, stop, restart
                        ├─► readiness       its checks, and its entry in the registry
                        └─► runtime         runs it as a process or a container

    context           shared by all parts during one run: directory, options, state store, process table, logs, addresses
    launch_options    the options of `up`
    relocation        a move of the project's directory while it runs
    cancel_event      an event that can also cancel blocks of code

Imports go down in this order. Decisions are pure modules that take states and a time and return what to do; the trio modules
around them read, call and act. Which instances are discoverable is decided by the registry, not here.
"""
