"""Servers and clients on sockets.

    rpc/           JSON-RPC over TCP: server and client
    http_messages  requests, replies, clients and limits of the HTTP server
    http_server    an HTTP/1.1 server: one handler, bounded requests and replies, streams, upgrades
    websocket      a server's websocket that only sends, over a connection of `http_server`
    auth           which HTTP requests are allowed: tokens, Host headers, no web pages
    peers          shares of a server's connections by user or address; which connection makes room for a new one
    tls            TLS without a socket, for the RPC server's loop
    listen_errors  the error for an address that a server cannot listen on
    background     a nursery for background tasks that does not wrap the exception of its block in a group

It refuses to know the registry, the supervisor, and the paths and methods that they serve.
"""
