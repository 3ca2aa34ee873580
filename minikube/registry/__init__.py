"""The discovery process (floor 3): who is registered, who is well, and who is told. A program of its own.

    main      the process: settings, signals, the nursery
    server    the RPC methods               asked      what a caller may ask for (pure)
    node      catalog + store: one change, from decision to answer
    catalog   all that is known, in revision order (pure)      listing    its lists as JSON (pure)
    judge     the schedule of probes        (verdicts: minikube.health.state, pure)
    store     from trio to two threads on redis-py: writer and follower of the change log
    wire      what they say to Redis        scripts    what runs there      records    the rows' form there (pure)
    dial      a Redis URL to a client                          shares     which node probes what (pure)

Reads are answered from the catalog and never wait for Redis. A write is one Lua script, made durable before it is
answered; many go out in one round trip. It refuses to run commands, to invent an instance's death while Redis or
the registry itself was away, and to call a failure of the store "not found".
"""
