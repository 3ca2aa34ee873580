"""Health checking: probe instances and decide what the results mean. Shared by the registry and the supervisor.

    state              after how many failures or passes a check changes its state, and when the next probe is due (pure)
    prober             one probe: an HTTP exchange (200 to 299 passes) or a TCP connect, with a deadline (trio)
    refused_addresses  the addresses that a registry never probes (pure)
    http_response      the part of an HTTP/1.x response that a probe reads (pure)
    mass_failure       detect that many instances stopped answering together (pure)
    pause              detect that this process itself was paused (pure)
    rate_limit         limit the probes that one process sends (pure)

The package refuses to act on a state: it starts, stops, registers and removes nothing, and does not know services.
"""
