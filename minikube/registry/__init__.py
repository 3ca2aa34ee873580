"""The registry: which instances are registered, which of them pass their checks, and which clients watch them.

A process of its own (`minikube registry`); several registries on one Redis agree with each other.

    main           start the process: settings, signals, nursery
    service        the RPC methods (`Discovery.*`): dispatch, lookups, status
    write_methods  the methods that change instances
    token_methods  the methods about tokens and reserved names
    validation     check the parameters of calls and turn them into records (pure)
    subscriptions  `Discovery.Watch`: the watches of each connection
    loopback       addresses for clients in a container's network: `Discovery.Via` (pure)
    metrics        `GET /metrics` of a registry that runs alone
    node           one registry node: reads from the catalog, writes through Redis into the catalog
    call_order     let the calls of one connection about the same instance or name take effect in their order
    call_counters  count calls by method, result and duration (pure)
    sharding       which node probes which instance (pure)
    config         the registry's settings
    access/        which caller may change what: callers, tokens and their rights, reserved names
    catalog/       the registry's memory: records, change log, lists, round robin (pure)
    checks/        schedule the health checks and store the states that they find
    redis/         Redis: two threads, Lua scripts, the stored form of records, recovery of lost data

Reads are answered from the catalog and never wait for Redis. A write is one Lua script and is durable before it is
answered; many writes go out in one round trip.
The registry refuses to run commands, to mark an instance dead because Redis or the registry itself was away, and to
answer "not found" for a failure of Redis.
"""
