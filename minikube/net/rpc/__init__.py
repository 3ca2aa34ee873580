"""JSON-RPC over TCP: a server and a client.

    interface      what a service implements, and what it sees of a connection
    server         the server: accepts, receives, sends, enforces deadlines
    client_socket  a client's socket with its deadlines, used by `server`
    connection     a client's connection without its socket: bytes in, calls, bytes out
    replies        reply lines with an error, and replies to batches
    limits         the limits of a server
    client         the client for trio: one connection, shared by many tasks

It refuses to know the methods of any service: `registry.service` implements those of the registry.
"""
