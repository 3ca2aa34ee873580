"""Backing services: the embedded Redis and the registry, which the project's own services use.

    spec        the command of a backing service; start it without trio; the delay before a restart
    redis       the command line, socket and directories of the embedded Redis
    redis_program  which server program runs, and which one wrote the data
    redis_data  mends the end of the append-only file; says how to go on where it cannot be read
    redis_rescue  writes the data of a running Redis to disk again where its directory was removed
    registry    the command line and environment of the registry
    redis_ping  ask Redis whether it works, and whether its socket is still there
    service     keep one backing service running: show whether it works, restart it when it exits, stop it at the end
    program     what differs between the two: when a process is ready, whether it works, why it ended
    embedded_redis  the embedded Redis as such a program
    startup     create both from their specs, and wait until they answer

Both processes are started before the supervisor imports trio, because `up` waits for them; so `spec`, `redis` and `registry`
import no trio. The folder refuses to decide whether an instance is healthy: the registry does.
The control API and the commands call a backing service a *part*.
"""
