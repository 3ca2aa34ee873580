"""The SDK: how a service registers, finds other services and watches their changes, for trio, asyncio and blocking programs.

    trio                `Registry`, `registered`, `discover`, `watch` for trio programs: `import minikube`
    asyncio             the same for asyncio programs: `from minikube import aio`
    blocking            the same for blocking programs, with a daemon thread that renews: `from minikube import blocking`
    blocking_connection a connection of the blocking client, shared by threads
    methods             the registry's methods, defined once for the three clients
    requests            each method as a value: what to send and the shape of the reply
    registration        what to register, and the state machine that keeps it registered
    watch               the state machine of a watch over any number of connections
    session             the registries' addresses and credentials, which one is in use, retry delays
    peer                what is wrong with the other end: another protocol, TLS at one side only, an older version
    local_address       the address to register for a service that listens on all addresses
    forks               keeps connections from being used by forked children
    tls                 the TLS context for a registry with TLS

`requests`, `registration`, `watch`, `session` and `peer` decide and do no I/O, except a probe
of a peer that never answers; the three clients connect, send and wait. The SDK
refuses to import the supervisor, the registry or the control API.
"""
