"""JSON-RPC without sockets: bytes to messages and back, in dialect 1 (Go's) and dialect 2.

    lines      bytes to lines, with a limit on their length
    messages   lines to requests, replies to lines; error codes
    calls      the client's side: numbers calls, decodes replies, turns errors into those of `minikube.errors`
    fast_get   a fast path of the server for lookups

It refuses to open a socket, to look at a clock, and to know any method.
"""
