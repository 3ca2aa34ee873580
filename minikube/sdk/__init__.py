"""The SDK: how a service registers, finds other services and watches their changes, for trio, asyncio and blocking programs.

    trio          `Registry`, `registered`, `discover`, `watch` for trio programs: `import minikube`
    asyncio       the same for asyncio programs: `from minikube import aio`
    blocking      the same for blocking programs, with a daemon thread that renews: `from minikube import blocking`
    methods       the methods of the three `Registry` classes, defined once
    requests      each method of the registry as a value: what to send and the type of the result
    registration  the registration of a service, and the state machine that keeps it registered
    watch         the state machine of a watch over any number of connections
    session       the registry's address and credentials, retry delays
    tls           the TLS context for a registry with TLS

`requests`, `registration`, `watch` and `session` decide and do no I/O; `trio`, `asyncio` and `blocking` connect, send and
wait. The SDK refuses to import the supervisor, the registry or the control API.
"""
