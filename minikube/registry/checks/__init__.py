"""Health checks of registered instances: when each is probed, and which state is stored for it.

    scheduler    probe this node's share of the instances, expire leases, store new states
    transitions  the record that a new state, an output or maintenance makes of a record (pure but for the time stamp)

The rules for states and delays are in `minikube/health`; which node probes which instance is in `registry/sharding`.
"""
