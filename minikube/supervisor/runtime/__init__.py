"""What runs an instance: processes of this machine and containers, behind one small interface.

    interface      the protocols `Runtime` (start an instance) and `Running` (signal, stop, wait), and their values
    port_allocator choose ports for instances, so that no two starting instances take the same one
    exit_status    how a process or container ended
    failures       errors of a start, classified and put into words
    pipes          read a pipe without blocking
    process/       instances as processes, and the table of all processes of the supervisor
    container/     instances as containers of Docker, Podman or nerdctl

The folder refuses to know policies: when to start, what an exit means and how long a stop may take come from
`supervisor.instance`.
"""
