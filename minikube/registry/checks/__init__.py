"""Health checks of registered instances: when each is probed, and which state is stored for it.

    scheduler      probe this node's share of the instances, expire leases, store new states
    target         the state of one checked instance: its health, and whether a check is under way
    transitions    the changes of a record: a new state, a new output, maintenance
    mass_failures  watch for many instances that stop answering together

The rules for states and delays are in `minikube/health`; which node probes which instance is in `registry/sharding`.
The package decides no state by itself: it stores what those rules return.
"""
