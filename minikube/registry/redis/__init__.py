"""Redis as the registry's store: what is written there, and how the catalog and Redis are kept the same.

    gateway      the trio side: queue a write, wait for its result, read whether Redis can be used
    writer       the writer thread: connect, recover, send batches of writes, send heartbeats
    follower     the follower thread: read the change log as it grows
    bridge       the state that trio and the two threads share
    types        the structs that pass between them (importable without redis-py)
    recovery     decide whether Redis lost data, and what to write again (pure)
    codec        the stored form of a registration: keys, hash fields, JSON (pure)
    commands     the commands on one connection, and how their replies are read
    scripts      the Lua scripts: each is one atomic step
    replies      the result of a batch of writes from Redis' replies (pure)
    shared_hash  one hash that is read and written outside the queue: the tokens
    connect      a Redis URL to a connection; Sentinel, TLS, time-outs

redis-py has no trio client, so it runs in two worker threads. It costs 0.15 s to import: only the threads import it.
The package refuses to retry a write that Redis may have done, and to report a write as done before it is durable.
"""
