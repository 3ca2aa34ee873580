"""JSON-RPC over TCP, for servers and clients.

    server       accepts connections, reads, writes and applies time limits
    connection   one server connection without its socket: bytes in, calls out, bytes back
    client       one client connection in trio, shared by many tasks
    replies      replies that carry an error instead of a result
    types        limits, and the interface that a server's methods implement

It refuses to know the methods of any service: `registry.service` implements those of the registry.
"""
