"""The control API of a supervisor, its state store, and the API's clients.

    state_store        one versioned snapshot of the project; updates for subscribers, and how a slow one catches up
    rows/              the rows of that snapshot: changes since a revision, times after the clock was set
    interface          what the API asks of the supervisor: `ProjectCommands`, `MetricsInput`
    server             listens on the API's address
    api                which path and method does what
    parameters         query parameters and bodies
    service_reply      the answer about one service or instance
    stream             the websocket `/v1/stream`
    ndjson             endless responses: logs and events
    metrics            `/metrics` for Prometheus
    instance_counters  starts and exits of instances, counted for `/metrics`
    http_sd            `/v1/sd`: service discovery for Prometheus
    encoding           JSON that is safe to show in a terminal
    auth               make and check the bearer token; which requests are allowed
    client/            clients of the API, for the command line and the dashboard

It refuses to start, stop or check anything: the supervisor does, through `interface`. It does not import the registry.
"""
