"""Who may change what: callers, tokens and their rights, and the names that the manifest reserves.

    access_control  the caller of each connection, the reserved names, refusals; what `service` asks
    policy          which caller may register under a name or change an entry (pure)
    rights          the rights of a token, and their text form (pure)
    tokens          the tokens that were made with `minikube registry token create`, kept as hashes in Redis

A caller is a user of this machine (the kernel names it for a loopback connection), a token, or both. The folder refuses to
store a token, to know how callers are connected, and to change entries.
"""
