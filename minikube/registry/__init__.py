"""The discovery process (floor 3): who is registered, who is well, and who is told. A program of its own.

    main      the process: settings, signals, the nursery
    server    the RPC methods               validate   what a caller may ask for (pure)
    ledger    catalog + store: one change, from decision to answer
    catalog   all that is known, in revision order (pure)      records    its rows, and their form in Redis (pure)
    checks    the schedule of probes and who probes what       (verdicts: minikube.probe.health, pure)
    store     two threads on redis-py: one writes, one follows the change log      scripts    what they run in Redis
    dial      a Redis URL to a client                          shares     which node probes what (pure)

Reads are answered from the catalog and never wait for Redis. A write is one Lua script, made durable before it is
answered; many go out in one round trip. It refuses to run commands, to invent an instance's death while Redis or
the registry itself was away, and to call a failure of the store "not found".
"""
